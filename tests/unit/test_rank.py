from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.rank import rank, why_not
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer


def recipe(**gpu: object) -> Recipe:
    document = {"name": "tiny", "model": "org/model", "gpu": gpu}
    return Recipe.model_validate(document, context=Path("/tiny.yaml"))


def offer(gpu: str = "H100", price: float = 2.0, count: int = 1, provider: str = "cloud") -> Offer:
    name = f"{provider}-{gpu}-{count}-{price}"
    memory_gib = {"cpu": 16.0, "H100": 80.0}.get(gpu, 24.0)
    return Offer(provider, Kind.POD, name, gpu, count, memory_gib, "here", price, {}, datetime(2026, 1, 1, tzinfo=UTC))


CPU = offer("cpu", 0.0, 0, "local")


@pytest.mark.parametrize(
    ("wants", "sold", "limit", "reason"),
    [
        ({}, offer(), None, ""),
        ({"names": ("H100",)}, offer(), 2.0, ""),
        ({}, offer(), 1.99, "costs $2.00/h, over the limit of $1.99/h"),
        ({}, CPU, None, "has no GPU, and the recipe does not say that a CPU will do (gpu: cpu: true)"),
        ({"cpu": True}, CPU, None, ""),
        ({"count": 2}, offer(), None, "has 1 GPUs, and the recipe runs on 2"),
        ({"names": ("L40S", "H100")}, offer("L4"), None, "is no L40S or H100"),
        ({"names": ("h100",)}, offer(), None, ""),
        ({"min_memory_gib": 40}, offer("L4"), None, "has 24 GiB a card, and the recipe needs 40"),
    ],
)
def test_an_offer_that_will_not_do_has_a_reason(
    wants: dict[str, object], sold: Offer, limit: float | None, reason: str
) -> None:
    assert why_not(recipe(**wants), sold, limit) == reason


def test_the_cheapest_is_first_and_at_one_price_a_gpu_before_the_cpu() -> None:
    free = replace(offer(price=0.0), offer_id="free-gpu")
    plan = rank(recipe(cpu=True), [offer(price=3.0), CPU, free, offer(price=1.0)], max_price_usd_per_hour=2.0)
    assert [one.offer_id for one in plan.candidates] == ["free-gpu", CPU.offer_id, "cloud-H100-1-1.0"]
    assert [out.offer.price_usd_per_hour for out in plan.rejected] == [3.0]


OFFERS = st.lists(
    st.builds(
        offer,
        st.sampled_from(["H100", "L4", "cpu"]),
        st.sampled_from([0.0, 1.0, 2.0, 3.0]),
        st.integers(0, 2),
        st.sampled_from(["one", "two"]),
    ),
    unique_by=lambda one: one.offer_id,
)


@given(OFFERS, st.randoms())
def test_the_same_offers_in_any_order_give_the_same_plan_and_none_is_lost(offers: list[Offer], random: object) -> None:
    shuffled = list(offers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis has no public name for the type
    plan = rank(recipe(cpu=True), offers, max_price_usd_per_hour=2.0)
    assert rank(recipe(cpu=True), shuffled, max_price_usd_per_hour=2.0) == plan
    assert len(plan.candidates) + len(plan.rejected) == len(offers)
    prices = [one.price_usd_per_hour for one in plan.candidates]
    assert prices == sorted(prices)
    assert all(out.reason for out in plan.rejected)
