"""`gpu offers`, `gpu plan` and `gpu up --dry-run` against Vast.ai's emulator: what is asked, shown and refused."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driver import Gpu, Ran
from emulators.vast import VastEmulator
from rented_at_vast import searches

Rentable = Callable[..., str]
KEYS_URL = "https://cloud.vast.ai/manage-keys/"


@pytest.fixture(scope="module")
def market() -> Iterator[VastEmulator]:
    """Nothing is rented here."""
    with VastEmulator() as cloud:
        yield cloud


def offers_of(gpu: Gpu, *options: str) -> Ran:
    return gpu("offers", "--provider", "vast", "--json", *options)


def plan_of(gpu: Gpu, recipe: str) -> list[Any]:
    """The candidates for it."""
    plan = gpu("plan", recipe, "--provider", "vast", "--json")
    assert plan.exit == 0, plan.stderr
    candidates: list[Any] = plan.json["candidates"]
    return candidates


def machine_ids(offers: list[Any]) -> set[str]:
    return {offer["offer_id"].rpartition("-m")[2] for offer in offers}


def test_offers_are_what_the_cloud_has_now_the_cheapest_first_and_asked_for_once_a_minute(
    gpu: Gpu, vast: VastEmulator
) -> None:
    began = datetime.now(UTC)
    ran = offers_of(gpu, "--gpu", "H100")
    assert ran.exit == 0, ran.stderr
    offers = ran.json["offers"]
    assert {offer["gpu"] for offer in offers} == {"H100"}
    assert machine_ids(offers) == {"15002", "15003", "15005"}
    prices = [offer["price_usd_per_hour"] for offer in offers]
    assert prices == sorted(prices)
    assert {offer["gpu_count"] for offer in offers} == {1, 2, 4, 8}
    answered = [datetime.fromisoformat(offer["prices_as_of"]) for offer in offers]
    assert all(timedelta(seconds=-1) <= when - began <= timedelta(seconds=30) for when in answered)
    time.sleep(1.1)
    again = offers_of(gpu, "--gpu", "H100")
    assert again.json["offers"] == offers, "with the age of what was kept"
    assert len(searches(vast)) == 1
    others = offers_of(gpu, "--gpu", "RTX-5090").json["offers"]
    assert len(searches(vast)) == 2
    assert machine_ids(others) == {"12711", "12712"}, "what lost its verification is not shown"


def test_the_price_is_that_of_the_gpu_and_of_the_disk_that_will_be_asked_for_and_traffic_is_told_beside_it(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    candidates = plan_of(gpu, rentable("H100", providers={"vast": {"disk_gb": 720}}))
    assert searches(vast)[-1]["allocated_storage"] == 720
    first, parts = candidates[0], candidates[0]["price_parts"]
    assert (parts["gpu"], parts["disk"]) == pytest.approx((1.928, 0.15))
    assert first["price_usd_per_hour"] == pytest.approx(1.928 + 0.15)
    dear = next(one["price_parts"] for one in candidates if one["offer_id"].endswith("2xH100 SXM-m15005"))
    assert dear["traffic_once"] / parts["traffic_once"] == pytest.approx(0.041 / 0.0026, rel=1e-3)


def test_once_the_searches_of_the_day_are_used_up_it_says_until_when_and_asks_nothing_more(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "search-quota", "seconds": 3600})
    refused = offers_of(gpu, "--gpu", "H100")
    assert (refused.exit, refused.error["code"]) == (5, "no-answer")
    assert "daily quota of searches" in refused.error["message"]
    until = [datetime.now(UTC) + timedelta(seconds=3600 - late_s) for late_s in (0, 60)]
    assert any(f"{when:%Y-%m-%d %H:%M} UTC" in refused.error["hint"] for when in until)
    for command in (("offers",), ("plan", rentable("H200")), ("up", rentable("H200"))):
        again = gpu(*command, "--provider", "vast", "--json")
        assert again.exit == 5, again.stderr
        assert again.error["hint"] == refused.error["hint"]
    assert len(searches(vast)) == 1


@pytest.mark.parametrize(
    ("options", "machines"),
    [
        ({"regions": ["FR"]}, {"15005"}),
        ({"datacenter": True}, {"15002", "15003"}),
        ({"verified": False, "reliability": 0.8, "regions": ["th"]}, {"15004"}),
    ],
)
def test_the_recipe_says_where_and_on_whose_machines(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable, options: dict[str, object], machines: set[str]
) -> None:
    assert machine_ids(plan_of(gpu, rentable("H100", providers={"vast": options}))) == machines


@pytest.mark.parametrize("command", ["plan", "up"])
def test_an_option_that_is_misspelt_is_refused_with_the_nearest_name_and_nothing_is_asked(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable, command: str
) -> None:
    recipe = rentable("H100", providers={"vast": {"datacentre": True}})
    refused = gpu(command, recipe, "--provider", "vast", "--json")
    assert refused.exit == 2
    assert "provider vast has no option 'datacentre'" in refused.error["message"]
    assert "did you mean 'datacenter'?" in refused.error["hint"]
    assert vast.requests == []


def test_a_key_that_is_refused_as_not_found_is_named_with_where_to_get_one(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAST_API_KEY", "0bad" * 16)
    for command in (["offers"], ["plan", rentable("H100")], ["up", rentable("H100")]):
        refused = gpu(*command, "--provider", "vast", "--json")
        assert (refused.exit, refused.error["code"]) == (4, "no-credentials")
        assert "VAST_API_KEY" in refused.error["hint"]
        assert KEYS_URL in refused.error["hint"]
        assert "0bad" * 16 not in refused.stdout + refused.stderr


def test_without_a_key_a_plan_has_the_snapshots_prices_and_a_launch_is_refused(gpu: Gpu, rentable: Rentable) -> None:
    plan = gpu("plan", rentable("H100"), "--provider", "vast", "--json")
    assert plan.exit == 0, plan.stderr
    assert plan.json["providers"]["vast"]["snapshot"]
    for command in (["offers"], ["up", rentable("H100")]):
        refused = gpu(*command, "--provider", "vast", "--json")
        assert (refused.exit, refused.error["code"]) == (4, "no-credentials")
        assert "VAST_API_KEY" in refused.error["hint"]
        assert KEYS_URL in refused.error["hint"]


def test_a_network_that_is_down_is_told_within_a_bounded_time(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_API_KEY", "5eed" * 16)
    monkeypatch.setenv("GPU_VAST_API_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    failed = offers_of(gpu)
    assert (failed.exit, failed.error["code"]) == (5, "no-answer")
    assert time.monotonic() - began < 30
