"""`gpu offers` and `gpu plan` against Lambda's emulator: what is asked, shown and refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driver import Gpu
from emulators.lambda_cloud import LambdaEmulator
from rented_at_lambda import launches

Rentable = Callable[..., str]
KEYS_URL = "https://cloud.lambda.ai/api-keys"
REGIONS = ("us-south-1", "us-south-2", "us-west-1")


@pytest.fixture(scope="module")
def datacenter() -> Iterator[LambdaEmulator]:
    """Nothing is rented here."""
    with LambdaEmulator(stock={"gpu_1x_h100_sxm5": REGIONS}) as cloud:
        yield cloud


def regions_of(gpu: Gpu, recipe: str) -> list[Any]:
    """Where `gpu plan` would have one H100."""
    plan = gpu("plan", recipe, "--provider", "lambda", "--json")
    assert plan.exit == 0, plan.stderr
    return sorted(one["region"] for one in plan.json["candidates"] if one["gpu_count"] == 1)


def test_offers_are_what_is_free_now_with_all_gpus_in_the_price(gpu: Gpu, at_lambda: LambdaEmulator) -> None:
    ran = gpu("offers", "--provider", "lambda", "--gpu", "H100", "--json")
    assert ran.exit == 0, ran.stderr
    shown = {(one["gpu_count"], one["region"], one["price_usd_per_hour"]) for one in ran.json["offers"]}
    assert shown == {*((1, region, 4.29) for region in REGIONS), (2, "us-south-3", 8.38), (8, "us-south-3", 31.92)}
    assert {one["kind"] for one in ran.json["offers"]} == {"vm"}
    agents = {request.headers["user-agent"].partition("/")[0] for request in at_lambda.requests}
    assert agents == {"gpu-cli"}


def test_what_is_to_be_public_is_not_where_there_is_no_firewall(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100", providers={"lambda": {"regions": ["us-south-1"]}})
    assert regions_of(gpu, recipe) == ["us-south-1"]
    refused = gpu("up", recipe, "--provider", "lambda", "--public", "--json")
    assert (refused.exit, refused.error["code"]) == (3, "nothing-fits")
    assert "outside us-south-1, which has no firewall" in refused.error["message"]
    assert launches(at_lambda) == []


def test_a_key_that_is_refused_is_named_with_where_to_get_one(
    gpu: Gpu, at_lambda: LambdaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_API_KEY", "secret_bad_bad_bad_bad")
    refused = gpu("offers", "--provider", "lambda", "--json")
    assert (refused.exit, refused.error["code"]) == (4, "no-credentials")
    assert "LAMBDA_API_KEY" in refused.error["hint"]
    assert KEYS_URL in refused.error["hint"]
    assert "secret_bad" not in refused.stdout + refused.stderr
    assert at_lambda.requests
