"""What is typed for `gpu compare`, and how its answer looks."""

from dataclasses import replace
from itertools import pairwise

import pytest
from test_compare_costs import TEN_A_SECOND
from test_compare_ways import DAY, OFFICE, POD, WORKER, catalogue, compared, recipe, sold, study

from gpu_cli.commands.compare_asked import Asked, growth_of
from gpu_cli.commands.compare_chart import cost_chart
from gpu_cli.commands.compare_report import comparison_result, months_table
from gpu_cli.compare.comparison import Comparison
from gpu_cli.compare.volume import DAYS_PER_MONTH, Volume
from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.launch.launch import Wanted

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


def told(found: Comparison) -> str:
    """All sentences on stderr."""
    limits = Limits(
        idle_s=900,
        ttl_s=86400,
        start_deadline_s=3600,
        boot_deadline_s=1800,
        budget_usd=None,
        max_price_usd_per_hour=None,
    )
    return "\n".join(comparison_result(found, Wanted(recipe(), "llama", limits), study(), ()).prose)


def test_a_volume_is_said_in_tokens_or_in_requests_or_by_how_busy_it_keeps_a_deployment() -> None:
    by_requests = volume(replace(NOTHING, requests="20k", input_tokens=1000, output_tokens=300, hours=8, days=22))
    assert by_requests == Volume(20_000, 1000, 300, 8, 22, 2.0)
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
        "the planner's estimates for up to 64 requests at once; prices are list prices of the day beside them",
    ):
        assert said in text, said


def test_volumes_that_go_to_and_fro_are_told_with_their_gap_and_what_is_never_beaten_as_such() -> None:
    prices = catalogue({"near": {"models": {"m": sold(0.14)}}, "far": {"models": {"m": sold(0.01)}}})
    text = told(compared(study(POD, prices=prices), replace(DAY, peak=2)))
    assert "serving never beats far m (looked at up to 64 deployments)" in text
    assert " tokens a day and above " in text


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
