"""What holds of a plan whatever is offered."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from model_configs import LLAMA_8B, LLAMA_70B, LLAMA_405B

from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.engine.engine_settings import EngineVersion
from gpu_cli.planner.model.model_config import parse_config
from gpu_cli.planner.model.parameters import weight_parts
from gpu_cli.planner.offers.expectations import NOTHING_LEARNT, Expected, PastStart, learnt
from gpu_cli.planner.offers.filters import Filters
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_cli.planner.rank import Candidate, Plan, rank
from gpu_cli.planner.sizing import Verdict, Workload
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind, Offer
from gpu_providers.gpus import GPUS
from gpu_providers.offer_document import offers_document, offers_from_document
from gpu_providers.price_snapshot import snapshot_offers


def served(config: dict[str, object], context: int, concurrency: int) -> Configurations:
    facts = parse_config(config, model="org/model")
    return Configurations(facts, weight_parts(facts), Workload(context, concurrency), EngineVersion(0, 32), {})


MODELS = {
    "nothing known": None,
    "8b": served(LLAMA_8B, 8192, 16),
    "70b": served(LLAMA_70B, 8192, 4),
    "405b": served(LLAMA_405B, 8192, 4),
}
RECIPE = Recipe.model_validate({"name": "x", "model": "org/model", "gpu": {"cpu": True}}, context=Path("/x.yaml"))


def _offer(gpu: str, count: int, kind: tuple[str, Kind], price: float, **more: Any) -> Offer:
    provider = kind[0]
    gpus = 0 if gpu == "cpu" else count
    memory_gib = GPUS[gpu].memory_gib if gpu in GPUS else 16.0
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Offer(
        provider, kind[1], more.pop("offer_id"), gpu, gpus, memory_gib, "us", price, {"gpu": price}, at, **more
    )


OFFERS = st.lists(
    st.builds(
        _offer,
        gpu=st.sampled_from(["H100", "L4", "RTX-4090", "A100-80GB", "T4", "B200", "cpu", "ABACUS"]),
        count=st.sampled_from([1, 2, 3, 8]),
        kind=st.sampled_from(
            [("runpod", Kind.POD), ("vast", Kind.POD), ("lambda", Kind.VM), ("modal", Kind.SERVERLESS), ("x", Kind.POD)]
        ),
        price=st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 20.0]) | st.floats(0, 100),
        offer_id=st.uuids().map(str),
        interruptible=st.booleans(),
        bandwidth_mb_per_s=st.none() | st.floats(1, 5000),
        boot_odds=st.none() | st.floats(0.05, 1),
        disk_usd_per_gib_hour=st.floats(0, 0.01),
        traffic_usd_per_gib=st.floats(0, 0.1),
    ),
    max_size=12,
)
PAST = PastStart("vast", Kind.POD, "H100", 1, "us", "", 0.0, Expected(100, 100, 0.9), 300.0, 50.0)
SEEN = {
    "nothing": NOTHING_LEARNT,
    "slow": learnt([PAST], 0.0),
    "failed": learnt([PAST, replace(PAST, came_up=False), replace(PAST, provider="x", came_up=True)], 0.0),
}
PLANS = {
    "model": st.sampled_from(list(MODELS)),
    "optimize": st.sampled_from(Optimize),
    "spot": st.booleans(),
    "seen": st.sampled_from(list(SEEN)),
}


def plan_of(offers: list[Offer], model: str, optimize: Optimize, spot: bool, seen: str) -> Plan:
    filters = Filters(spot=spot)
    return rank(RECIPE, offers, MODELS[model], optimize=optimize, filters=filters, expectations=SEEN[seen])


@settings(deadline=None)
@given(offers=OFFERS, random=st.randoms(), **PLANS)
def test_the_same_offers_in_any_order_give_the_same_plan(offers: list[Offer], random: Any, **how: Any) -> None:
    shuffled = list(offers)
    random.shuffle(shuffled)
    assert plan_of(shuffled, **how) == plan_of(offers, **how)


@settings(deadline=None)
@given(offers=OFFERS, **PLANS)
def test_every_offer_is_a_candidate_or_is_rejected_with_a_reason(offers: list[Offer], **how: Any) -> None:
    plan = plan_of(offers, **how)
    shown = [candidate.offer.offer_id for candidate in plan.candidates]
    assert sorted(shown + [out.offer.offer_id for out in plan.rejected]) == sorted(offer.offer_id for offer in offers)
    assert all(out.reason for out in plan.rejected)
    assert all(candidate.why for candidate in plan.candidates)


def _class(candidate: Candidate) -> tuple[bool, bool]:
    tight = candidate.sizing is not None and candidate.sizing.verdict is Verdict.TIGHT
    return (why_implausible(candidate.offer) != "", tight)


@settings(deadline=None)
@given(offers=OFFERS, **PLANS)
def test_sound_prices_come_before_odd_ones_and_what_fits_before_what_is_tight(offers: list[Offer], **how: Any) -> None:
    classes = [_class(candidate) for candidate in plan_of(offers, **how).candidates]
    assert classes == sorted(classes)


@settings(deadline=None)
@given(offers=OFFERS.filter(bool), dearer_by=st.floats(0.01, 10), which=st.integers(0, 11), **PLANS)
def test_a_dearer_offer_of_the_same_thing_never_ranks_higher(
    offers: list[Offer], dearer_by: float, which: int, **how: Any
) -> None:
    cheap = offers[which % len(offers)]
    dear = replace(cheap, offer_id="dearer", price_usd_per_hour=cheap.price_usd_per_hour + dearer_by)
    if why_implausible(cheap) and not why_implausible(dear):
        return  # too cheap to be true, which a dearer one may not be
    order = [candidate.offer.offer_id for candidate in plan_of([*offers, dear], **how).candidates]
    if cheap.offer_id in order:
        assert order.index(cheap.offer_id) < order.index("dearer")


@settings(deadline=None)
@given(offers=OFFERS, **PLANS)
def test_saved_offers_give_the_same_plan(offers: list[Offer], **how: Any) -> None:
    assert plan_of(list(offers_from_document(offers_document(offers))), **how) == plan_of(offers, **how)


@settings(deadline=None)
@given(offers=OFFERS, **PLANS)
def test_costs_and_times_are_never_negative(offers: list[Offer], **how: Any) -> None:
    for candidate in plan_of(offers, **how).candidates:
        assert candidate.session.cost_usd >= 0
        assert candidate.session.start_s > 0


def test_the_price_snapshot_gives_a_plan_for_a_small_and_a_large_model() -> None:
    small, large = (rank(RECIPE, snapshot_offers(), MODELS[name]).candidates[0] for name in ("8b", "70b"))
    assert small.offer.gpu_count == 1
    assert small.offer.price_usd_per_hour < 1
    assert large.offer.gpu_memory_gib * large.offer.gpu_count > 131
    assert small.why.startswith("cheapest that fits; ")
    assert small.speed
    assert small.usd_per_million_output_tokens


def test_offers_of_one_card_that_cost_the_same_are_ordered_by_speed() -> None:
    slow = _offer("L40S", 1, ("runpod", Kind.POD), 2.0, offer_id="a")
    fast = _offer("H100", 1, ("runpod", Kind.POD), 2.0, offer_id="b")
    assert [one.offer.gpu for one in rank(RECIPE, [slow, fast], MODELS["8b"]).candidates] == ["H100", "L40S"]


def test_the_cheapest_tokens_are_not_those_of_the_cheapest_hour() -> None:
    offers = [
        _offer("A40", 1, ("x", Kind.POD), 0.8, offer_id="a"),
        _offer("H100", 1, ("x", Kind.POD), 2.0, offer_id="b"),
    ]
    by_price = rank(RECIPE, offers, MODELS["8b"])
    by_token = rank(RECIPE, offers, MODELS["8b"], optimize=Optimize.COST_PER_TOKEN)
    assert by_price.candidates[0].offer.gpu == "A40"
    assert by_token.candidates[0].offer.gpu == "H100"
    assert by_token.candidates[0].why.startswith("cheapest per token that fits; ")


def test_a_model_that_no_node_holds_gets_a_plan_that_says_how_many_would() -> None:
    huge = served({**LLAMA_405B, "num_hidden_layers": 250}, 8192, 4)
    plan = rank(RECIPE, [offer for offer in snapshot_offers() if offer.gpu in ("H100", "H200")], huge)
    assert plan.candidates == ()
    assert plan.note.startswith("no single node holds it; 2 nodes of 8 x H200 would, at about $")


def test_a_price_limit_is_no_reason_to_speak_of_several_nodes() -> None:
    plan = rank(RECIPE, snapshot_offers(), MODELS["8b"], filters=Filters(max_price_usd_per_hour=0.01))
    assert plan.candidates == ()
    assert plan.note == ""
