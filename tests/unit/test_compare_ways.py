"""What can be rented, called or bought in place of each other, and what the recipe's constraints leave of that."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sellers import offer

from gpu_cli.compare.calling import calling_options, why_not_private
from gpu_cli.compare.catalogue import Catalogue
from gpu_cli.compare.comparison import Comparison, compare
from gpu_cli.compare.costs import PerActiveSecond, PerDeployment
from gpu_cli.compare.options import Figure, Option, Source, Way
from gpu_cli.compare.owning import machine
from gpu_cli.compare.price_table import Prices, Terms
from gpu_cli.compare.study import Study
from gpu_cli.compare.volume import Volume
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.market.market import Answer, Market
from gpu_cli.fleet.market.planning import Wish
from gpu_cli.fleet.market.recipe_model import RecipeModel
from gpu_cli.paths import Paths
from gpu_cli.planner.measured import MeasuredRun, Measurements, Serving
from gpu_cli.planner.offers.session_price import Session
from gpu_cli.recipe.files import find_recipe
from gpu_cli.recipe.schema import Privacy, Recipe
from gpu_providers.base import Kind, Offer

NOWHERE = Path("/nowhere")
PATHS = Paths(NOWHERE, NOWHERE, NOWHERE)
TODAY = date(2026, 11, 22)
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
DAY = Volume(100_000, 1000, 250)
OFFICE = replace(DAY, hours_per_day=8, days_per_month=22)
POD = offer("runpod", 2.5)
WORKER = replace(offer("modal", 4.0, Kind.SERVERLESS), region="")
OF_A_DAY = {"as_of": date(2026, 11, 1), "source": "made up"}


@cache
def recipe(**said: Any) -> Recipe:
    shipped = find_recipe("llama-3.1-8b", PATHS, NOWHERE)
    return shipped.model_copy(update=said)


def sold(usd: float = 0.2, serves: str | None = LLAMA, **more: Any) -> Mapping[str, Any]:
    """A model of an API, at one price for prompts and answers."""
    return {**OF_A_DAY, "serves": serves, "usd_per_million_tokens": {"input": usd, "output": usd}, **more}


def catalogue(apis: Mapping[str, Any], **cards: Mapping[str, Any]) -> Catalogue:
    shares = {"host_share": 0.5, "host_power_share": 0.25, "pue": 1.2, "usd_per_kwh": 0.1}
    work = {"staff_hours_per_month": 2.0, "staff_usd_per_hour": 60.0, "lifetime_months": 50.0, "resale_share": 0.2}
    table = {
        "apis": apis,
        "models": {LLAMA: {"comparable": {"org/other": "of its size"}}},
        "cards": {name: {**OF_A_DAY, **card} for name, card in cards.items()},
        "ownership": {name: {**OF_A_DAY, "value": value} for name, value in {**shares, **work}.items()},
    }
    return Catalogue(Prices.model_validate(table))


ONE_API = catalogue({"cheap": {"models": {"org/llama": sold()}}})


def study(
    *offers: Offer,
    prices: Catalogue = ONE_API,
    said: Recipe | None = None,
    use_s: float = 8 * 3600,
    measured: tuple[MeasuredRun, ...] = (),
) -> Study:
    wish = Wish(session=Session(use_s, 900), measurements=Measurements(measured))
    market = Market({"clouds": Answer(offers)})
    return Study(RecipeModel(said or recipe(), PATHS, {}), market, wish, prices, prices.prices.cards, 64)


def served(looked_at: Study, volume: Volume = DAY) -> Mapping[tuple[Way, str], Option]:
    return {(option.way, option.provider): option for option in looked_at.ways(volume).served}


def compared(looked_at: Study, volume: Volume = DAY, growth: float = 0.0, months: int = 12) -> Comparison:
    return compare(looked_at.ways(volume), volume, growth, months, TODAY)


@pytest.mark.parametrize(
    ("trains", "days", "allowed"),
    [
        (None, None, [Privacy.ANY]),
        (True, 0, [Privacy.ANY]),
        (False, None, [Privacy.ANY, Privacy.NO_TRAINING]),
        (False, 30, [Privacy.ANY, Privacy.NO_TRAINING]),
        (False, 0, [Privacy.ANY, Privacy.NO_TRAINING, Privacy.NO_RETENTION]),
    ],
)
def test_an_api_has_to_promise_what_the_recipe_asks_for(
    trains: bool | None, days: int | None, allowed: list[Privacy]
) -> None:
    terms = Terms(**OF_A_DAY, trains_on_inputs=trains, retention_days=days)
    assert [privacy for privacy in Privacy if not why_not_private(terms, privacy)] == allowed


def test_an_api_that_promises_nothing_is_left_out_with_the_reason() -> None:
    ways = study(POD, said=recipe(privacy=Privacy.NO_TRAINING)).ways(DAY)
    assert ways.called == ()
    assert ways.served
    (left_out,) = [one for one in ways.unused if one.name.startswith("cheap")]
    assert left_out.reason == "whether it trains on requests is not known, and the recipe says privacy: no-training"


def test_of_the_hosts_of_strangers_it_is_said_what_they_can_see_where_that_matters() -> None:
    of_a_stranger = replace(offer("vast", 1.0), offer_id="vast-1-1xH100 SXM-m1")
    for privacy, notes in ((Privacy.ANY, 0), (Privacy.DEDICATED, 1)):
        found = served(study(of_a_stranger, POD, said=recipe(privacy=privacy)))
        assert len(found[Way.ALWAYS_ON, "vast"].notes) == notes
        assert not found[Way.ALWAYS_ON, "runpod"].notes


def test_regions_leave_what_is_within_at_the_price_of_that() -> None:
    terms = {**OF_A_DAY, "regions": ("us",)}
    kept = {**OF_A_DAY, "price_factors": {"eu": 1.5, "ca": 1.1}}
    prices = catalogue(
        {
            "here": {"terms": {**OF_A_DAY, "regions": ("eu",)}, "models": {"m": sold(0.3)}},
            "there": {"terms": terms, "models": {"m": sold(0.1)}},
            "both": {"terms": terms, "models": {"m": sold(0.2, regional=kept)}},
            "silent": {"models": {"m": sold(0.1)}},
        }
    )
    options, unused = calling_options(prices, recipe(regions=("eu",)), DAY)
    tokens = DAY.tokens_per_month / 1e6
    assert {one.provider: one.cost.usd_per_month(DAY) for one in options} == pytest.approx(
        {"here": 0.3 * tokens, "both": 0.3 * tokens}
    )
    assert {one.name: one.reason for one in unused} == {
        "there m": "may answer in us, and the recipe keeps to eu",
        "silent m": "does not say where it answers, and the recipe keeps to eu",
    }
    found = served(study(replace(POD, region="us"), replace(POD, provider="lambda"), said=recipe(regions=("eu",))))
    assert {provider for _, provider in found} == {"lambda"}


def test_an_api_whose_requests_are_too_short_is_left_out_and_a_slow_one_is_told_of() -> None:
    limits = {**OF_A_DAY, "tier": "tier 1", "requests_per_minute": 60, "tokens_per_minute": 1_000_000}
    prices = catalogue(
        {
            "short": {"models": {"m": sold(context=1024)}},
            "slow": {"models": {"m": sold(limits=limits)}},
            "noted": {"models": {"m": sold(note="for now")}},
            "none": {"no_prices": "it sells nothing"},
        }
    )
    options, unused = calling_options(prices, recipe(), replace(DAY, peak=2))
    assert {one.name: one.reason for one in unused} == {
        "short m": "takes 1,024 tokens a request, and these have 1,250",
        "none": "it sells nothing",
    }
    slow, noted = options
    assert slow.notes == ("takes 60 requests a minute (tier 1), and the busiest hour has 139",)
    assert noted.notes == ("for now",)


def test_terms_that_break_the_recipe_are_told_with_what_is_noted_of_them() -> None:
    terms = Terms(**OF_A_DAY, trains_on_inputs=False, retention_days=30, note="can be turned off")
    told = why_not_private(terms, Privacy.NO_RETENTION)
    assert told == "it may keep requests for 30 days (can be turned off), and the recipe says privacy: no-retention"


def test_the_same_model_is_called_others_stand_in_for_it_and_closed_ones_are_for_reference() -> None:
    models = {"same": sold(0.5), "other": sold(0.1, "org/other"), "closed": sold(0.01, None), "far": sold(1, "org/x")}
    found = compared(study(POD, prices=catalogue({"api": {"models": models}})), DAY.times(0.1))
    assert [(one.way, one.name) for one in found.options if one.provider == "api"] == [
        (Way.CALL, "same"),
        (Way.CALL_OTHER, "other"),
        (Way.REFERENCE, "closed"),
    ]
    assert found.answer
    assert found.answer.name == "same"
    assert found.cheaper_other
    assert found.cheaper_other.name == "other"


def test_a_pod_is_always_on_or_only_while_it_is_used_and_a_worker_serverless() -> None:
    looked_at = study(POD, WORKER)
    assert set(served(looked_at, OFFICE)) == {
        (Way.ALWAYS_ON, "runpod"),
        (Way.WHILE_USED, "runpod"),
        (Way.SERVERLESS, "modal"),
    }
    assert set(served(looked_at, DAY)) == {(Way.ALWAYS_ON, "runpod"), (Way.SERVERLESS, "modal")}


def test_while_used_is_a_session_a_day_with_its_start_and_its_idle_tail() -> None:
    reliable = replace(POD, boot_odds=1.0)
    found = served(study(reliable), OFFICE)
    always_on, while_used = found[Way.ALWAYS_ON, "runpod"].cost, found[Way.WHILE_USED, "runpod"].cost
    assert isinstance(while_used, PerDeployment)
    assert always_on.usd_per_month(OFFICE) == pytest.approx(2.5 * 730)
    start_hours = while_used.hours_per_month / 22 - 8 - 0.25
    assert 0.05 < start_hours < 0.2
    assert while_used.usd_per_month(OFFICE) == pytest.approx(2.5 * while_used.hours_per_month, rel=0.001)


def test_a_worker_bills_its_cold_starts_and_its_idle_time() -> None:
    pod, worker = replace(POD, boot_odds=1.0), replace(WORKER, provider="runpod")
    found = served(study(pod, worker), OFFICE)
    cost, of_a_pod = found[Way.SERVERLESS, "runpod"].cost, found[Way.WHILE_USED, "runpod"].cost
    assert isinstance(cost, PerActiveSecond)
    assert (cost.usd_per_hour, cost.idle_s) == (4.0, 900)
    assert isinstance(of_a_pod, PerDeployment)
    start_s = 3600 * (of_a_pod.hours_per_month / 22 - 8) - 900
    image_s = 10 * 2**30 / 150e6
    assert cost.cold_start_s == pytest.approx(start_s - (50 - 10) - image_s), "RunPod bills no image of a worker"


def test_an_offer_that_cannot_be_compared_has_its_reason() -> None:
    too_cheap, unknown = replace(POD, price_usd_per_hour=0.01), offer("other", 9.0)
    ways = study(too_cheap, unknown).ways(DAY)
    assert {option.provider for option in ways.served} == {"other"}
    assert any("price cannot be right" in one.reason for one in ways.unused)
    cpu = replace(offer("local", 0.0, Kind.PROCESS), gpu="cpu", gpu_count=0)
    slow = study(cpu, said=recipe(gpu=recipe().gpu.model_copy(update={"cpu": True}))).ways(DAY)
    assert [one.reason for one in slow.unused] == ["how fast it is is not known: gpu bench measures it"]


def test_what_is_tight_for_the_model_counts_only_where_nothing_of_its_kind_fits() -> None:
    tight = replace(POD, gpu="RTX-4090", gpu_memory_gib=23.5, price_usd_per_hour=0.3, offer_id="tight")
    said = recipe(context=32768)
    assert {one.name for one in study(tight, POD, said=said).ways(DAY).served} == {"H100"}
    assert {one.name for one in study(tight, WORKER, said=said).ways(DAY).served} == {"RTX-4090", "H100"}
    assert [one.name for one in study(tight, POD, said=said).ways(DAY).unused if "is tight" in one.reason] == ["tight"]


def test_what_was_measured_takes_the_place_of_the_estimate_and_says_of_which_day_it_is() -> None:
    estimated = served(study(POD))[Way.ALWAYS_ON, "runpod"]
    assert estimated.speed == Figure(Source.ESTIMATED)
    flags = ("--max-model-len", "16384")
    at = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    run = MeasuredRun(
        at, Serving(LLAMA, "", recipe().engine.version, flags), "H100", 1, 1024, 256, {1: 90.0, 32: 1500.0}
    )
    measured = served(study(POD, measured=(run,)))[Way.ALWAYS_ON, "runpod"]
    assert measured.speed == Figure(Source.MEASURED, date(2026, 11, 20))
    assert isinstance(measured.cost, PerDeployment)
    usual = replace(DAY, input_tokens=1024, output_tokens=256)
    assert measured.cost.capacity.requests_per_s(usual) * 256 == pytest.approx(1500), "the most that was tried"


def test_a_machine_costs_its_cards_its_host_its_power_its_staff_and_what_it_loses_in_value() -> None:
    prices = catalogue({}, H100={"usd": 20_000.0, "board_power_w": 700}).prices
    found = machine(prices.cards["H100"], 2, prices.ownership)
    assert found.usd == 2 * 20_000 * 1.5
    power_usd = 2 * 0.7 * 1.25 * 1.2 * 730 * 0.1
    assert found.running_usd_per_month == pytest.approx(power_usd + 2 * 60)
    assert found.usd_per_month == pytest.approx(60_000 * 0.8 / 50 + found.running_usd_per_month)


def test_cards_are_bought_in_the_smallest_number_that_fits_and_pay_back_against_rent_and_call() -> None:
    cards = {
        "H100": {"usd": 20_000.0, "board_power_w": 700},
        "RTX-3080": {"usd": 500.0, "board_power_w": 320, "note": "used"},
        "V100-32GB": {"usd": 100.0, "board_power_w": 300},
    }
    prices = catalogue({"api": {"models": {"m": sold(1.0)}}}, **cards)
    found = compared(study(POD, prices=prices))
    bought = {one.name: one for one in found.options if one.way is Way.BUY}
    assert set(bought) == {"H100", "RTX-3080 x4"}
    assert [one.name for one in found.unused if "bought" in one.name] == ["a bought V100-32GB"]
    backs = {(one.owned.card, one.rival.way): one.months for one in found.pay_backs}
    running = next(one.owned.machine for one in found.pay_backs if one.owned.card == "H100").running_usd_per_month
    assert backs["H100", Way.ALWAYS_ON] == pytest.approx(30_000 / (2.5 * 730 - running))
    assert backs["H100", Way.CALL] == pytest.approx(30_000 / (DAY.tokens_per_month / 1e6 - running))
    assert ("RTX-3080", Way.ALWAYS_ON) not in backs, "nobody rents those out"
    busy = DAY.times(12)
    two = next(one for one in compared(study(POD, prices=prices), busy).pay_backs if one.rival.way is Way.CALL)
    assert (two.owned.card, two.owned.machines(busy)) == ("H100", 2)
    assert two.months == pytest.approx(60_000 / (busy.tokens_per_month / 1e6 - 2 * running))
    free = compared(study(POD, prices=catalogue({"api": {"models": {"m": sold(0.0)}}}, **cards)))
    assert [one.months for one in free.pay_backs if one.rival.way is Way.CALL] == [None, None]


def test_a_growing_volume_has_a_cost_for_each_month_and_a_month_in_which_the_answer_changes() -> None:
    found = compared(study(POD), DAY, growth=0.5, months=12)
    assert [month.number for month in found.months] == list(range(1, 13))
    assert found.months[2].volume.requests_per_day == pytest.approx(100_000 * 1.5**2)
    (flip,) = [
        after.number
        for before, after in zip(found.months, found.months[1:], strict=False)
        if before.answer.way is not after.answer.way
    ]
    even = 2.5 * 730 / (DAY.tokens_per_month * 0.2 / 1e6)
    assert flip == 2 + math.floor(math.log(even, 1.5))
    assert found.months[-1].answer.way is Way.ALWAYS_ON
    assert compared(study(POD)).months == ()


def test_requests_that_are_too_long_for_the_recipe_are_refused() -> None:
    with pytest.raises(UserError, match="requests of 20,250 tokens are too long: the recipe's context is 16,384"):
        study(POD).ways(replace(DAY, input_tokens=20_000))


def test_where_nothing_can_be_rented_calls_are_left_and_where_nothing_can_be_called_either_it_is_an_error() -> None:
    small = replace(POD, gpu="T4", gpu_memory_gib=14.6)
    found = compared(study(small))
    assert [option.way for option in found.options] == [Way.CALL]
    assert found.break_evens == ()
    with pytest.raises(UserError) as error:
        study(small, prices=catalogue({})).ways(DAY)
    assert error.value.exit_status is Exit.NOTHING_FITS
    assert "privacy" not in error.value.hint
    with pytest.raises(UserError) as error:
        study(small, said=recipe(privacy=Privacy.DEDICATED)).ways(DAY)
    assert "`privacy: dedicated`" in error.value.hint


def test_a_utilization_is_of_what_would_be_bought_else_of_the_cheapest_that_is_rented() -> None:
    one = replace(DAY, requests_per_day=1.0)
    cheap = replace(POD, gpu="L40S", gpu_memory_gib=44.4, price_usd_per_hour=1.0, offer_id="small")
    rented = study(POD, cheap)
    found = rented.base(one)
    assert found.requests_per_s(one) < study(POD).base(one).requests_per_s(one)
    assert found.busy(one.times(0.5 / found.busy(one))) == pytest.approx(0.5)
    buying = study(POD, cheap, prices=catalogue({}, H100={"usd": 20_000.0, "board_power_w": 700}))
    assert buying.base(one).requests_per_s(one) == pytest.approx(study(POD).base(one).requests_per_s(one))
