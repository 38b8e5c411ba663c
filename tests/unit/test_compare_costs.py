"""What a volume costs in a month, by the way in which it is paid for."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_cli.compare.capacity import Capacity, capacity
from gpu_cli.compare.costs import PerActiveSecond, PerDeployment, PerToken
from gpu_cli.compare.volume import DAYS_PER_MONTH, HOURS_PER_MONTH, Volume, parse_amount, parse_growth

DAY = Volume(864_000, 1000, 250)
"""Ten requests a second, around the clock."""
OFFICE = replace(DAY, hours_per_day=8, days_per_month=22)
TEN_A_SECOND = Capacity(input_token_s=0.00005, output_token_s=0.0002, alone_token_s=0.01)
"""A request of 1,000 and 250 tokens takes a tenth of a second of its work."""
WORKER = PerActiveSecond(TEN_A_SECOND, usd_per_hour=4.0, cold_start_s=120, idle_s=300)

rates = st.floats(1, 1e5)
volumes = st.builds(
    Volume,
    requests_per_day=st.floats(0.1, 1e8),
    input_tokens=st.floats(1, 1e5),
    output_tokens=st.floats(1, 1e4),
    hours_per_day=st.floats(0.5, 24),
    days_per_month=st.floats(1, DAYS_PER_MONTH),
    peak=st.floats(1, 10),
)
capacities = st.builds(Capacity, *[st.floats(1e-6, 1e-2)] * 3)
costs = st.one_of(
    st.builds(PerToken, st.floats(0, 100), st.floats(0, 100)),
    st.builds(PerDeployment, capacities, st.floats(1, 1e5), st.just(HOURS_PER_MONTH)),
    st.builds(PerActiveSecond, capacities, st.floats(0.1, 100), st.floats(0, 3600), st.floats(1, 3600)),
)


@pytest.mark.parametrize(("text", "amount"), [("500", 500), ("20k", 20e3), ("1.5M", 1.5e6), ("2B", 2e9), ("1T", 1e12)])
def test_amounts_are_written_as_people_write_them(text: str, amount: float) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "0", "-5", "1e6", "10 M", "5m", "1,000", "inf", "9999T"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        parse_amount(text)


def test_growth_is_a_part_of_itself_each_month() -> None:
    assert (parse_growth("10%/month"), parse_growth("2.5%"), parse_growth("-5%")) == (0.1, 0.025, -0.05)
    for text in ("10", "0.1", "10%/year", "-100%", "200%"):
        with pytest.raises(ValueError, match="is no growth"):
            parse_growth(text)


def test_a_month_has_730_hours_of_which_some_are_of_use() -> None:
    assert DAY.hours_per_month == pytest.approx(730)
    assert OFFICE.hours_per_month == 176
    assert (DAY.all_day, OFFICE.all_day, replace(DAY, days_per_month=22).all_day) == (True, False, False)
    assert DAY.requests_per_s == pytest.approx(10)
    assert OFFICE.requests_per_s == pytest.approx(30)
    assert DAY.tokens_per_day == 864_000 * 1250


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(1, 1e4), rates)
def test_a_capacity_gives_back_the_rate_that_it_is_made_from(
    rate: float, prompt: float, answer: float, prefill: float
) -> None:
    made = capacity(rate, (prompt, answer), prefill_tokens_per_s=prefill)
    assert made.input_token_s >= 0
    assert made.output_token_s >= -1e-15
    requests = Volume(1, prompt, answer)
    assert made.requests_per_s(requests) * answer == pytest.approx(rate)


def test_longer_prompts_take_longer_and_by_as_much_as_the_prefill_says() -> None:
    made = capacity(1000, (1000, 250), prefill_tokens_per_s=20_000)
    longer = replace(DAY, input_tokens=3000)
    seconds = [1 / made.requests_per_s(volume) for volume in (DAY, longer)]
    assert seconds == pytest.approx([0.25, 0.25 + 2000 / 20_000])


def test_a_deployment_more_is_needed_where_the_busiest_hour_fills_one() -> None:
    rented = PerDeployment(TEN_A_SECOND, 1000.0, HOURS_PER_MONTH)
    assert rented.capacity.busy(DAY) == pytest.approx(1)
    assert rented.deployments(DAY) == 1
    assert rented.deployments(DAY.times(1.001)) == 2
    assert rented.deployments(replace(DAY, peak=2.5)) == 3
    assert rented.usd_per_month(replace(DAY, peak=2.5)) == 3000
    assert rented.deployments(OFFICE) == 3, "the same in a third of the time"
    assert rented.utilization(OFFICE) == pytest.approx(176 / 730)
    assert rented.deployments(DAY.times(1e-9)) == 1


def test_an_api_costs_what_its_tokens_cost() -> None:
    assert PerToken(2.0, 8.0).usd_per_month(OFFICE) == pytest.approx(864_000 * 22 * (1000 * 2 + 250 * 8) / 1e6)


@settings(max_examples=50, deadline=None)
@given(costs, volumes, st.floats(1, 1e4))
def test_more_never_costs_less(cost: PerToken | PerDeployment | PerActiveSecond, volume: Volume, factor: float) -> None:
    assert cost.usd_per_month(volume.times(factor)) >= cost.usd_per_month(volume) * (1 - 1e-9)


@settings(max_examples=50, deadline=None)
@given(st.builds(PerActiveSecond, capacities, st.floats(0.1, 100), st.floats(0, 3600), st.floats(1, 3600)), volumes)
def test_workers_do_all_the_work_and_never_outnumber_the_busiest_hour(cost: PerActiveSecond, volume: Volume) -> None:
    workers = cost.workers(volume)
    assert cost.capacity.busy(volume) <= workers * (1 + 1e-9)
    assert workers <= cost.deployments(volume) * (1 + 1e-9)
    assert 0 <= cost.utilization(volume) <= 1 + 1e-9
    assert cost.cold_starts_per_day(volume) <= volume.requests_per_day


def test_where_many_workers_are_needed_they_follow_the_demand() -> None:
    assert WORKER.workers(replace(DAY.times(10), peak=3)) == pytest.approx(11)
    assert WORKER.workers(DAY.times(1.5)) == 2


def test_serverless_costs_next_to_nothing_where_hardly_anybody_asks_and_all_the_time_where_many_do() -> None:
    a_day = WORKER.usd_per_month(replace(DAY, requests_per_day=1)) / DAYS_PER_MONTH
    alone_s = WORKER.capacity.alone_s(DAY)
    assert a_day == pytest.approx(4.0 * (120 + 300 + alone_s) / 3600, rel=0.01)
    assert WORKER.cold_starts_per_day(replace(DAY, requests_per_day=1)) == pytest.approx(1, rel=0.01)
    assert WORKER.usd_per_month(DAY) == pytest.approx(4.0 * 730)
    assert WORKER.cold_starts_per_day(DAY) < 1e-9


def test_hours_without_use_cost_nothing_but_the_idle_time_that_they_begin_with() -> None:
    assert WORKER.usd_per_month(OFFICE.times(1 / 3)) == pytest.approx(4.0 * 22 * (8 + 300 / 3600))


@pytest.mark.parametrize("requests_per_day", [50, 300, 1000])
def test_how_long_a_worker_is_there_is_what_a_simulation_says(requests_per_day: int) -> None:
    cost, volume = replace(WORKER, cold_start_s=100, idle_s=300), replace(DAY, requests_per_day=requests_per_day)
    chance, held_s = random.Random(7), cost.capacity.alone_s(volume) + 300
    now = up_s = 0.0
    there_until = -1.0
    for _ in range(40_000):
        now += chance.expovariate(volume.requests_per_s)
        if now > there_until:  # the request waits for a worker, and keeps it from then on
            up_s, there_until = up_s + 100 + held_s, now + 100 + held_s
        elif (longer := now + held_s) > there_until:
            up_s, there_until = up_s + longer - there_until, longer
    assert cost.workers(volume) == pytest.approx(up_s / now, rel=0.03)


def test_a_volume_as_many_times_as_large_has_as_many_requests_of_the_same_kind() -> None:
    assert OFFICE.times(3) == replace(OFFICE, requests_per_day=3 * OFFICE.requests_per_day)
    assert math.isclose(OFFICE.times(3).tokens_per_month, 3 * OFFICE.tokens_per_month)
