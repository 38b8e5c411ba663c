"""`gpu offers` and `gpu plan` at Modal: every card in every number, at the price of all that a container is made of."""

from collections.abc import Callable

import pytest
from driver import Gpu
from emulators.modal_cloud import ModalEmulator

Rentable = Callable[..., str]
AT_MODAL = ("--provider", "modal", "--json")
H100_USD = 4.3952
"""An hour of one, with 4 cores and 32 GiB of memory."""


def test_offers_are_priced_with_cores_and_memory_at_the_rates_of_the_account_which_are_asked_for_once_a_day(
    gpu: Gpu, at_modal: ModalEmulator
) -> None:
    ran = gpu("offers", *AT_MODAL, "--gpu", "H100")
    assert ran.exit == 0, ran.stderr
    shown = {one["gpu_count"]: round(one["price_usd_per_hour"], 4) for one in ran.json["offers"]}
    assert shown == {1: H100_USD, 2: 8.6958, 4: 17.297, 8: 34.4994}
    for one in ran.json["offers"]:
        assert (one["kind"], set(one["price_parts"])) == ("serverless", {"gpu", "cpu", "memory"})
        assert sum(one["price_parts"].values()) == pytest.approx(one["price_usd_per_hour"], abs=1e-6)
    assert {one["stock_known"] for one in ran.json["offers"]} == {False}
    assert "modal does not say what is in stock" in ran.stderr
    none = gpu("offers", *AT_MODAL, "--gpu", "MI300X")
    assert (none.exit, "Modal has no MI300X" in none.error["message"]) == (3, True), none.stderr
    assert at_modal.front.calls.count("WorkspaceBillingRates") == 1


def test_a_region_adds_to_all_of_the_price_and_rates_that_the_account_may_not_see_are_those_of_the_list(
    gpu: Gpu, at_modal: ModalEmulator, rentable: Rentable
) -> None:
    at_modal.misbehave({"do": "rates-refused"})
    plan = gpu("plan", rentable("H100", providers={"modal": {"region": "us"}}), *AT_MODAL)
    assert plan.exit == 0, plan.stderr
    first = plan.json["candidates"][0]
    assert (first["kind"], first["region"]) == ("serverless", "us")
    assert first["price_usd_per_hour"] == pytest.approx(1.5 * H100_USD, abs=1e-4)
    assert first["price_parts"]["region"] == pytest.approx(0.5 * H100_USD, abs=1e-4)
    assert plan.json["providers"]["modal"]["prices_as_of"] == "2026-09-29T00:00:00Z"


def test_without_a_token_a_plan_has_the_listed_prices_and_the_use_up_to_which_it_is_cheaper_than_by_the_hour(
    gpu: Gpu, rentable: Rentable
) -> None:
    plan = gpu("plan", rentable(gpu={"names": ["H100"], "count": 1}), "--json")
    assert plan.exit == 0, plan.stderr
    candidates = plan.json["candidates"]
    serverless = next(one for one in candidates if one["provider"] == "modal")
    assert round(serverless["price_usd_per_hour"], 4) == H100_USD
    by_the_hour = [one for one in candidates if one["kind"] in ("pod", "vm") and one["gpu"] == "H100"]
    cheapest_usd = min(one["price_usd_per_hour"] for one in by_the_hour)
    assert 0 < serverless["serverless_break_even"] < 1
    assert serverless["serverless_break_even"] == pytest.approx(cheapest_usd / H100_USD, abs=1e-4)
