"""What is typed for `gpu compare`, and how its answer looks."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from test_compare_costs import TEN_A_SECOND
from test_compare_ways import DAY, OFFICE, POD, WORKER, catalogue, compared, recipe, sold, study

from gpu_cli.commands.compare_asked import Asked, growth_of
from gpu_cli.commands.compare_chart import cost_chart
from gpu_cli.commands.compare_report import comparison_result, months_table, story
from gpu_cli.compare.comparison import Comparison
from gpu_cli.compare.options import Figure, Source
from gpu_cli.compare.volume import DAYS_PER_MONTH, Volume
from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.plots.words import count

NOTHING = Asked(None, None, None, None, None, None, 24.0, None, None)
USUAL = (1024, 256)
PRICES = catalogue(
    {
        "cheap": {"models": {"org/llama": sold(0.2)}},
        "dear": {"models": {"llama": sold(2.0), "closed": sold(5.0, None)}},
        "none": {"no_prices": "it sells nothing"},
    },
    H100={"usd": 20_000.0, "board_power_w": 700},
)


def volume(asked: Asked) -> Volume:
    asked.check()
    one = asked.one_request(USUAL)
    return one.times(asked.requests_per_day(one, lambda _: TEN_A_SECOND))


LIMITS = Limits(
    idle_s=900,
    ttl_s=86400,
    start_deadline_s=3600,
    boot_deadline_s=1800,
    budget_usd=None,
    max_price_usd_per_hour=None,
)
WANTED = Wanted(recipe(), "llama", LIMITS)


def told(found: Comparison, *, everything: bool = False) -> str:
    """All sentences on stderr."""
    return "\n".join(story(found, WANTED, study(), everything=everything))


def rows(found: Comparison, *, everything: bool = False) -> list[tuple[str, ...]]:
    table = comparison_result(found, WANTED, study(), (), everything=everything).table
    assert table
    return [tuple(map(str, row)) for row in table.rows]


def test_a_volume_is_said_in_tokens_or_in_requests_or_by_how_busy_it_keeps_a_deployment() -> None:
    by_requests = volume(replace(NOTHING, requests="20k", input_tokens=1000, output_tokens=300, hours=8, days=22))
    assert by_requests == Volume(20_000, 1000, 300, 8, 22, 2.0)
    assert volume(replace(NOTHING, requests="5", days=31)).days_per_month == DAYS_PER_MONTH
    by_tokens = volume(replace(NOTHING, tokens_in="10M", tokens_out="2M", peak=1.5))
    assert by_tokens == Volume(2e6 / 256, 1280, 256, 24, DAYS_PER_MONTH, 1.5)
    assert by_tokens.tokens_per_day == pytest.approx(12e6)
    assert volume(replace(NOTHING, requests="5")) == Volume(5, 1024, 256, peak=2.0)
    busy = volume(replace(NOTHING, utilization=0.5, input_tokens=1000, output_tokens=250))
    assert busy.requests_per_s == pytest.approx(5), "half of ten a second"
    assert busy.peak == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (NOTHING, "say in one way how much is asked"),
        (replace(NOTHING, requests="5k", tokens_in="1M"), "say in one way how much is asked"),
        (replace(NOTHING, requests="5k", utilization=0.5), "say in one way how much is asked"),
        (replace(NOTHING, tokens_in="1M"), "--tokens-in and --tokens-out go together"),
        (replace(NOTHING, tokens_in="1M", tokens_out="1M", input_tokens=5), "--input does not go with --tokens-in"),
        (replace(NOTHING, utilization=0.5, peak=3.0), "--peak does not go with --utilization"),
        (replace(NOTHING, requests="many"), "--requests: 'many' is no amount"),
        (replace(NOTHING, tokens_in="1M", tokens_out="0"), "--tokens-out: '0' is no amount"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: Asked, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        volume(asked)
    assert error.value.exit_status is Exit.BAD_INPUT


def test_growth_is_nothing_where_nobody_says_it() -> None:
    assert (growth_of(None), growth_of("10%/month")) == (0.0, 0.1)
    with pytest.raises(UserError, match="--growth: 'fast' is no growth"):
        growth_of("fast")


def test_people_are_told_what_is_asked_who_is_beaten_what_pays_back_and_what_is_left_out() -> None:
    text = told(compared(study(POD, WORKER, prices=PRICES), replace(OFFICE, peak=2, requests_per_day=20_000)))
    for said in (
        "not none: it sells nothing",
        "20,000 requests a day of 1,000 tokens in and 250 out, which is 25M tokens a day; 8 h a day",
        "serving beats dear llama above ",
        "yours H100 for $30,000.00 pays back in ",
        "a machine of yours: power at $0.10/kWh, 2 h of staff a month at $60.00, 50 months of life",
        "yours H100 for $30,000.00 never pays back against cheap llama",
        "the cheapest: ",
        "modal H100: hardly any request waits for a cold start",
        "estimated: a speed by the planner, for up to 64 requests at once",
    ):
        assert said in text, said


def test_volumes_that_go_to_and_fro_are_told_with_their_gap_and_what_is_never_beaten_as_such() -> None:
    prices = catalogue({"near": {"models": {"m": sold(0.14)}}, "far": {"models": {"m": sold(0.01)}}})
    text = told(compared(study(POD, prices=prices), replace(DAY, peak=2)))
    assert "serving never beats far m (looked at up to 64 deployments)" in text
    assert " tokens a day and above " in text


def test_the_answer_comes_first_and_what_was_left_out_last() -> None:
    lines = told(compared(study(POD, prices=PRICES), DAY)).splitlines()
    starts = ("the cheapest: ", "serving ", "asked: ", "not none: ")
    places = [next(place for place, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert places == sorted(places)
    assert places[0] == 0


def test_every_row_says_of_which_day_its_price_is_whether_that_is_old_and_how_its_speed_is_known() -> None:
    old = replace(POD, prices_as_of=datetime(2026, 8, 23, tzinfo=UTC))
    prices = catalogue({"api": {"models": {"m": sold(as_of=date(2026, 8, 24))}}})
    found = compared(study(old, prices=prices))
    assert {row[0]: row[-1] for row in rows(found)} == {
        "call": "list 2026-08-24",
        "always on": "list 2026-08-23 old / estimated",
    }
    assert "old: a list price of more than 90 days ago" in told(found)
    assert "old:" not in told(compared(study(POD, prices=prices)))
    measured = replace(found.served[0], speed=Figure(Source.MEASURED, date(2026, 11, 20)))
    assert rows(replace(found, options=(measured,)))[0][-1] == "list 2026-08-23 old / measured 2026-11-20"


def test_how_busy_it_is_is_told_with_the_number_of_deployments_where_there_is_more_than_one() -> None:
    busy = {found.volume.requests_per_day: rows(found)[-1][4] for found in map(by_volume, (1e5, 2e6))}
    assert busy == {1e5: "10%", 2e6: "97% of 2"}


def test_of_other_models_only_the_cheapest_rows_are_shown_unless_all_are_asked_for() -> None:
    others = {f"other-{number}": sold(number, "org/other") for number in range(1, 6)}
    closed = {f"closed-{number}": sold(number, None) for number in range(1, 6)}
    found = compared(study(POD, prices=catalogue({"api": {"models": {**others, **closed, "m": sold(9)}}})))
    names = [row[1] for row in rows(found)]
    assert names[2:] == [f"api other-{number}" for number in (1, 2)] + [f"api closed-{number}" for number in (1, 2, 3)]
    assert len(rows(found, everything=True)) == len(found.options) == 12
    assert "and 5 more rows: --all shows them" in told(found)
    assert "--all" not in told(found, everything=True)
    assert "other-5" not in told(found)


def test_of_what_is_left_out_for_one_reason_a_few_are_named_unless_all_are_asked_for() -> None:
    gone = {name: {"no_prices": "it sells nothing"} for name in "abcde"}
    found = compared(study(POD, prices=catalogue({**gone, "api": {"models": {"m": sold()}}})))
    assert "not a, b, c and 2 more: it sells nothing" in told(found)
    assert "not a, b, c, d, e: it sells nothing" in told(found, everything=True)


def test_ranges_with_many_gaps_are_told_by_their_first_volume_and_the_last_gap() -> None:
    found = compared(study(POD, prices=catalogue({"near": {"models": {"m": sold(0.105)}}})), replace(DAY, peak=2))
    ranges = found.break_evens[0].serving_is_cheaper
    assert len(ranges) > 2
    told_ends = f"above {count(ranges[0].above)} tokens a day, but not all the way to {count(ranges[-1].above)}"
    assert f"serving beats near m {told_ends}" in told(found)


def test_another_model_is_told_of_where_it_costs_less_or_is_all_there_is() -> None:
    other = {"api": {"models": {"other": sold(0.1, "org/other")}}}
    small = replace(POD, gpu="T4", gpu_memory_gib=14.6)
    dear = catalogue({"api": {"models": {"other": sold(3.0, "org/other"), "m": sold(0.1)}}})
    assert "another model costs less: call other, api other" in told(compared(study(POD, prices=catalogue(other))))
    assert "there is no way to this very model, but to another one: call other, api other" in told(
        compared(study(small, prices=catalogue(other)))
    )
    assert "another model costs less" not in told(compared(study(POD, prices=dear)))


def test_cents_are_told_of_what_costs_little_and_notes_of_what_can_stand_in_for_the_model() -> None:
    models = {"m": sold(0.2, note="for now"), "closed": sold(1.0, None, note="dearer at night")}
    found = compared(study(POD, prices=catalogue({"api": {"models": models}})))
    assert [row[2] for row in rows(found)] == ["760.42", "1,825", "3,802"]
    assert "api m: for now" in told(found)
    assert "dearer at night" not in told(found)


def test_scripts_are_told_which_prices_are_old_and_everything_that_is_noted() -> None:
    models = {"m": sold(as_of=date(2026, 8, 23)), "closed": sold(1.0, None, note="dearer at night")}
    found = compared(study(POD, prices=catalogue({"api": {"models": models}})))
    document = json.loads(json.dumps(comparison_result(found, WANTED, study(), (), everything=False).document))
    old = {option["name"]: option["price"]["old"] for option in document["options"]}
    assert old == {"m": True, "H100": False, "closed": False}
    assert document["options"][-1]["notes"] == ["dearer at night"]


def by_volume(requests_per_day: float) -> Comparison:
    return compared(study(POD, prices=catalogue({})), replace(DAY, requests_per_day=requests_per_day))


def test_the_answer_of_a_growing_volume_says_from_which_month_on_it_is_another() -> None:
    found = compared(study(POD), DAY, growth=0.5)
    assert "from month 4 on: always on, runpod H100, $" in told(found)
    table = months_table(found)
    assert table.columns == ("MONTH", "TOKENS/DAY", "SERVE", "CALL", "CHEAPEST")
    assert [row[0] for row in table.rows] == [str(month) for month in range(1, 13)]
    assert {row[-1] for row in table.rows} == {"cheap llama", "runpod H100"}


def test_a_chart_shows_the_same_model_before_those_that_stand_in_for_it() -> None:
    others = {f"other-{usd}": sold(usd, "org/other") for usd in (0.1, 0.2, 0.3)}
    prices = catalogue({"api": {"models": {**others, "same": sold(0.5)}}})
    labels = [curve.label for curve in cost_chart(compared(study(POD, prices=prices)), "llama").curves]
    assert labels == ["always on", "call: api same", "call other: api other-0.1", "call other: api other-0.2"]


def test_a_chart_has_every_way_its_steps_and_the_volumes_where_serving_begins_to_pay() -> None:
    found = compared(study(POD, WORKER, prices=PRICES), OFFICE)
    chart = cost_chart(found, "llama")
    assert {curve.kind for curve in chart.curves} == {"serve", "call", "reference", "buy"}
    assert [curve.label for curve in chart.curves] == [
        *("always on", "while used", "serverless"),
        *("call: cheap llama", "call: dear llama", "reference: dear closed", "buy: yours H100"),
    ]
    assert chart.tokens_per_day == OFFICE.tokens_per_day
    for curve in chart.curves:
        volumes = [tokens for tokens, _ in curve.points]
        assert volumes == sorted(volumes)
        assert volumes[0] < OFFICE.tokens_per_day < volumes[-1]
        assert all(usd > 0 for _, usd in curve.points)
        steps = [after[1] / before[1] for before, after in pairwise(curve.points) if before[0] == after[0]]
        assert bool(steps) == (curve.kind in ("serve", "buy")), curve.label
        assert all(step > 1 for step in steps)
    for crossing in chart.crossings:
        there = OFFICE.times(crossing.tokens_per_day / OFFICE.tokens_per_day)
        serving_usd = min(option.cost.usd_per_month(there) for option in found.served)
        assert crossing.usd_per_month == pytest.approx(serving_usd)
    assert {crossing.label for crossing in chart.crossings} == {"serving beats dear", "serving beats cheap"}
