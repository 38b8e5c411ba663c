from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpu_cli.planner.offers.expectations import Expected, PastStart, learnt
from gpu_cli.planner.offers.filters import Filters, why_not
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_cli.planner.rank import Plan, rank
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer
from gpu_providers.gpus import GPUS

ANY = Filters()


def recipe(kind: str | None = None, weights: tuple[str, ...] = ("org/model",), **gpu: object) -> Recipe:
    document = {"name": "tiny", "model": "org/model", "kind": kind, "weights": weights, "gpu": gpu}
    return Recipe.model_validate(document, context=Path("/tiny.yaml"))


def offer(gpu: str = "H100", price: float = 2.0, count: int = 1, provider: str = "cloud", region: str = "us") -> Offer:
    name = f"{provider}-{gpu}-{count}-{price}"
    memory_gib = {"cpu": 16.0, "H100": 80.0}.get(gpu, 24.0)
    return Offer(provider, Kind.POD, name, gpu, count, memory_gib, region, price, {}, datetime(2026, 1, 1, tzinfo=UTC))


CPU = replace(offer("cpu", 0.0, 0, "local"), kind=Kind.PROCESS)
NAMED = recipe(names=("H100", "L4"), cpu=True)


def ids(plan: Plan) -> list[str]:
    return [candidate.offer.offer_id for candidate in plan.candidates]


@pytest.mark.parametrize(
    ("wants", "sold", "filters", "reason"),
    [
        ({}, offer(), ANY, ""),
        ({"names": ("H100",)}, offer(), Filters(max_price_usd_per_hour=2.0), ""),
        ({}, offer(), Filters(max_price_usd_per_hour=1.99), "costs $2.00/h, over the limit of $1.99/h"),
        ({}, CPU, ANY, "has no GPU, and the recipe does not say that a CPU will do (gpu: cpu: true)"),
        ({"cpu": True}, CPU, ANY, ""),
        ({}, offer("MI300X"), ANY, "is an AMD card, and gpu has no engine for those"),
        ({"count": 2}, offer(), ANY, "has 1 GPUs, and the recipe runs on 2"),
        ({"names": ("L40S", "H100")}, offer("L4"), ANY, "is no L40S or H100"),
        ({"names": ("h100",)}, offer(), ANY, ""),
        ({"names": ("A100",)}, offer("A100-80GB"), ANY, ""),
        ({"names": ("A100",)}, offer("A10"), ANY, "is no A100"),
        ({"names": ("L40",)}, offer("L40S"), ANY, "is no L40"),
        ({"names": ("H100",)}, offer("H100-PCIE"), ANY, "is no H100"),
        ({"min_memory_gib": 40}, offer("L4"), ANY, "has 24 GiB a card, and the recipe needs 40"),
        ({}, offer(region="EU-RO-1"), Filters(region="us"), "is in EU-RO-1, not in us"),
        ({}, offer(region="Texas, US"), Filters(region="us"), ""),
        ({}, offer(region="Moscow, Russia"), Filters(region="us"), "is in Moscow, Russia, not in us"),
        ({}, offer(region="us-east-1"), Filters(region="US-East"), ""),
        ({}, offer(region=""), Filters(region="us"), "does not say where it is"),
        (
            {},
            replace(offer(), interruptible=True),
            ANY,
            "is spot: it can be taken back at any time, and that was not asked for (--spot)",
        ),
        ({}, replace(offer(), interruptible=True), Filters(spot=True), ""),
        ({"kind": "pod"}, offer(), ANY, ""),
        ({"kind": "serverless"}, offer(), ANY, "is a pod, and serverless was asked for"),
        ({"kind": "serverless", "cpu": True}, CPU, ANY, "is a process, and serverless was asked for"),
        ({"kind": "vm"}, replace(offer(), kind=Kind.SERVERLESS), ANY, "is serverless, and a VM was asked for"),
        ({}, replace(offer(), architecture="arm64"), ANY, ""),
        ({}, replace(offer(), architecture="arm64"), Filters(architectures=("x86_64", "arm64")), ""),
        (
            {},
            replace(offer(), architecture="arm64"),
            Filters(architectures=("x86_64",)),
            "is arm64, and the image of vLLM 0.32.0 is built for x86_64",
        ),
        ({"cpu": True}, replace(CPU, architecture="arm64"), Filters(architectures=("x86_64",)), ""),
        ({}, replace(offer(), kind=Kind.SERVERLESS), ANY, ""),
        ({"weights": ("s3://bucket/model", "org/model")}, replace(offer(), kind=Kind.SERVERLESS), ANY, ""),
        ({"weights": ("s3://bucket/model",)}, offer(), ANY, ""),
        (
            {"weights": ("s3://bucket/model", "/models/mine")},
            replace(offer(), kind=Kind.SERVERLESS),
            ANY,
            "is serverless, whose workers load weights from Hugging Face only, and the recipe names none there",
        ),
    ],
)
def test_an_offer_that_will_not_do_has_a_reason(
    wants: dict[str, object], sold: Offer, filters: Filters, reason: str
) -> None:
    assert why_not(recipe(**wants), sold, filters) == reason


@pytest.mark.parametrize(
    ("region", "asked", "reason"),
    [
        ("EU-RO-1", None, ""),
        ("US-CA-2, US-TX-3", None, ""),
        ("EU-RO-1, US-CA-2", "us", ""),
        ("US-TX-3", None, "is in US-TX-3, and the recipe keeps to eu or us-ca"),
        ("EU-RO-1, US-TX-3", "us", "is in EU-RO-1, US-TX-3, and the recipe keeps to eu or us-ca"),
        ("Sweden, SE", None, ""),
        ("California, US", None, "is in California, US, and the recipe keeps to eu or us-ca"),
        ("Norway, NO", None, "is in Norway, NO, and the recipe keeps to eu or us-ca"),
        ("", None, "does not say where it is, and the recipe keeps to eu or us-ca"),
    ],
)
def test_a_recipe_keeps_to_its_regions(region: str, asked: str | None, reason: str) -> None:
    kept = recipe().model_copy(update={"regions": ("eu", "us-ca")})
    assert why_not(kept, offer(region=region), Filters(region=asked)) == reason


def test_what_runs_on_this_machine_is_where_the_user_is() -> None:
    assert not why_not(recipe(cpu=True).model_copy(update={"regions": ("eu",)}), CPU, ANY)


def test_the_cheapest_session_is_first_and_at_one_price_a_gpu_before_the_cpu() -> None:
    free = replace(offer(price=0.0), offer_id="free-gpu", kind=Kind.PROCESS)
    offers = [offer(price=3.0), CPU, free, offer(price=1.0)]
    plan = rank(NAMED, offers, None, filters=Filters(max_price_usd_per_hour=2.0))
    assert ids(plan) == ["free-gpu", CPU.offer_id, "cloud-H100-1-1.0"]
    assert [out.offer.price_usd_per_hour for out in plan.rejected] == [3.0]


def test_a_cheap_hour_on_a_host_that_seldom_boots_comes_after_a_dearer_one_that_does() -> None:
    shaky = replace(offer(price=2.0), boot_odds=0.5)
    steady = replace(offer(price=2.5), boot_odds=0.99)
    assert ids(rank(NAMED, [shaky, steady], None)) == [steady.offer_id, shaky.offer_id]


def test_the_soonest_to_answer_is_first_where_that_is_asked_for() -> None:
    slow = replace(offer(price=1.0), bandwidth_mb_per_s=20)
    fast = replace(offer(price=3.0), bandwidth_mb_per_s=500)
    assert ids(rank(NAMED, [slow, fast], None)) == [slow.offer_id, fast.offer_id]
    plan = rank(NAMED, [slow, fast], None, optimize=Optimize.START)
    assert ids(plan) == [fast.offer_id, slow.offer_id]
    assert plan.candidates[0].why.startswith("soonest to answer; ")
    assert plan.candidates[1].why.endswith(" more to start")


def test_a_place_where_starts_failed_or_took_long_comes_after_one_where_they_went_well() -> None:
    here, there = offer(price=2.0, region="us"), offer(price=2.1, region="eu")
    assert ids(rank(NAMED, [here, there], None)) == [here.offer_id, there.offer_id]
    past = PastStart("cloud", Kind.POD, "H100", 1, "us", "", 0.0, Expected(100, 100, 0.85))
    failed, slow = replace(past, came_up=False), replace(past, boot_s=500.0, load_s=500.0)
    assert ids(rank(NAMED, [here, there], None, expectations=learnt([failed], 0.0))) == [there.offer_id, here.offer_id]
    by_start = {"optimize": Optimize.START, "expectations": learnt([slow], 0.0)}
    assert ids(rank(NAMED, [here, there], None, **by_start)) == [there.offer_id, here.offer_id]


def test_the_first_says_by_how_much_it_is_the_first_and_the_others_what_they_cost_more() -> None:
    first, second, third = rank(NAMED, [offer(price=2.0), offer(price=1.0), offer(price=1.0001)], None).candidates
    assert first.why == "cheapest, with the next"
    assert second.why == "as good as the first"
    assert third.why == f"${third.session.cost_usd - first.session.cost_usd:.2f} more a session"


def test_the_first_of_two_says_how_much_less_it_is_and_the_only_one_that_it_is_the_only_one() -> None:
    assert rank(NAMED, [offer(price=2.0), offer(price=1.0)], None).candidates[0].why == (
        "cheapest; 50% less than the next"
    )
    assert rank(NAMED, [offer()], None).candidates[0].why == "the only one"


@pytest.mark.parametrize(
    ("price", "says"),
    [
        (0.05, "its price cannot be right: $0.05/h a card, which is $0.95 to $12.30 elsewhere"),
        (50.0, "its price cannot be right: $50.00/h a card, which is $0.95 to $12.30 elsewhere"),
    ],
)
def test_a_price_that_cannot_be_right_is_shown_last_with_the_reason(price: float, says: str) -> None:
    odd, sound = offer(price=price), offer(price=3.0)
    plan = rank(NAMED, [odd, sound], None)
    assert ids(plan) == [sound.offer_id, odd.offer_id]
    assert plan.candidates[1].why == says
    assert plan.candidates[0].why == "the only one"


def test_a_price_of_unknown_age_is_not_first() -> None:
    undated = replace(offer(price=1.0), prices_as_of=datetime.fromtimestamp(0, UTC))
    plan = rank(NAMED, [undated, offer(price=3.0)], None)
    assert plan.candidates[1].why == "its price is of unknown age"


def test_the_price_of_several_cards_is_judged_by_the_card() -> None:
    assert why_implausible(offer(price=24.0, count=8)) == ""
    assert why_implausible(offer(price=2.0, count=8)) != ""


def test_what_runs_on_the_users_own_machine_may_be_free() -> None:
    assert why_implausible(replace(offer(price=0.0), kind=Kind.PROCESS)) == ""


@pytest.mark.parametrize("gpu", GPUS)
def test_every_card_has_a_price_that_cannot_be_right(gpu: str) -> None:
    assert why_implausible(offer(gpu, price=0.01)) != ""
    assert why_implausible(offer(gpu, price=1000.0)) != ""


def test_without_facts_a_gpu_will_not_do_unless_the_recipe_names_cards_or_their_memory() -> None:
    plan = rank(recipe(), [offer()], None, facts_missing="nothing is known of org/model: it is gated")
    assert [out.reason for out in plan.rejected] == ["nothing is known of org/model: it is gated"]
    assert ids(rank(recipe(names=("H100",)), [offer()], None)) == [offer().offer_id]
    assert ids(rank(recipe(min_memory_gib=79), [offer()], None)) == [offer().offer_id]


def test_without_facts_several_gpus_will_do_only_when_the_recipe_says_how_many() -> None:
    (out,) = rank(recipe(names=("H100",)), [offer(count=2, price=4.0)], None).rejected
    assert out.reason == "has 2 GPUs, and too little is known to say how to use them"
    assert rank(recipe(names=("H100",), count=2), [offer(count=2, price=4.0)], None).rejected == ()
