"""From which volume on serving is the cheaper one."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_compare_costs import DAY, TEN_A_SECOND, WORKER

from gpu_cli.compare.break_even import MOST_DEPLOYMENTS, Envelope, Range, undominated
from gpu_cli.compare.capacity import Capacity
from gpu_cli.compare.costs import Cost, PerActiveSecond, PerDeployment, PerToken
from gpu_cli.compare.volume import HOURS_PER_MONTH

TOKENS = DAY.tokens_per_day
"""As many as one deployment does on a day."""


def rented(usd: float, slower: float = 1.0) -> PerDeployment:
    found = Capacity(TEN_A_SECOND.input_token_s * slower, TEN_A_SECOND.output_token_s * slower, 0.01)
    return PerDeployment(found, usd, HOURS_PER_MONTH)


def api(usd: float) -> PerToken:
    """That asks so much for what fills one deployment for a month."""
    each = usd * 1e6 / DAY.tokens_per_month
    return PerToken(each, each)


def in_fillings(found: tuple[Range, ...]) -> list[tuple[float, float]]:
    """As multiples of what one deployment does."""
    return [(one.above / TOKENS, math.inf if one.up_to is None else one.up_to / TOKENS) for one in found]


def test_one_deployment_pays_from_where_the_api_asks_as_much() -> None:
    found = Envelope([rented(1000)], DAY).cheaper_than(api(4000))
    assert in_fillings(found) == [pytest.approx((0.25, math.inf))]


def test_where_a_second_deployment_is_begun_the_api_is_cheaper_again_for_a_while() -> None:
    found = in_fillings(Envelope([rented(1000)], DAY).cheaper_than(api(1500)))
    assert found[0] == pytest.approx((1000 / 1500, 1))
    assert found[1] == pytest.approx((2000 / 1500, 2))
    assert found[2] == pytest.approx((2, math.inf)), "the third step ends where the API asks exactly as much"


def test_an_api_that_asks_less_than_a_full_deployment_costs_is_never_beaten() -> None:
    assert Envelope([rented(1000)], DAY).cheaper_than(api(999)) == ()


def test_what_costs_nothing_is_cheaper_from_the_first_request_on() -> None:
    assert Envelope([rented(0)], DAY).cheaper_than(api(1)) == (Range(0.0, None),)


def test_a_small_card_pays_first_and_a_large_one_later() -> None:
    small, large = rented(300, slower=10), rented(1000)
    found = in_fillings(Envelope([small, large], DAY).cheaper_than(api(4000)))
    assert found[0] == pytest.approx((300 / 4000, 0.1))
    assert found[1] == pytest.approx((600 / 4000, 0.2))
    assert found[2] == pytest.approx((900 / 4000, math.inf)), "and the large one from a quarter on"


def test_the_volume_from_which_serverless_pays_is_where_both_cost_the_same() -> None:
    call = api(5000)
    first, *later = Envelope([WORKER], DAY).cheaper_than(call)
    there = DAY.times(first.above / TOKENS)
    assert WORKER.usd_per_month(there) == pytest.approx(call.usd_per_month(there))
    assert first.up_to == pytest.approx(TOKENS), "the second worker costs more than the API, until it has more to do"
    assert later[-1].up_to is None


def test_what_another_never_loses_to_is_left_out() -> None:
    cheap, slow, dear = rented(1000), rented(1000, slower=2), rented(2000, slower=0.5)
    assert undominated([slow, dear, cheap, cheap, WORKER], DAY) == [WORKER, cheap, dear]


ways = st.one_of(
    st.builds(rented, st.floats(10, 1e4), st.floats(0.1, 10)),
    st.builds(
        PerActiveSecond,
        st.builds(Capacity, *[st.floats(1e-6, 1e-3)] * 2, st.floats(1e-3, 0.1)),
        st.floats(0.1, 20),
        st.floats(0, 1000),
        st.floats(1, 1000),
    ),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(ways, min_size=1, max_size=4),
    st.floats(10, 1e5),
    st.floats(1, 3),
    st.sampled_from([(8.0, 22.0), (24.0, 365 / 12)]),
    st.lists(st.floats(1e-8, 40), min_size=20, max_size=20),
)
@example([rented(1000)], 1500.0, 1.0, (24.0, 365 / 12), [0.5, 0.7, 1.0, 1.1, 1.5, 2.0, 2.1, 40.0])
def test_within_the_ranges_serving_costs_less_and_outside_it_does_not(
    costs: list[Cost], usd: float, peak: float, hours: tuple[float, float], factors: list[float]
) -> None:
    volume = replace(DAY, peak=peak, hours_per_day=hours[0], days_per_month=hours[1])
    call, found = api(usd), in_fillings(Envelope(costs, volume).cheaper_than(api(usd)))
    ends = [end for one in found for end in one]
    assert ends == sorted(ends)
    least = MOST_DEPLOYMENTS * min(cost.filled_by(volume) for cost in costs)
    for factor in (*factors, *(end * side for end in ends[1:] for side in (1 - 1e-6, 1 + 1e-6) if math.isfinite(end))):
        if factor * TOKENS <= 1 or factor > least:
            continue
        asked = volume.times(factor)
        serving, calling = min(cost.usd_per_month(asked) for cost in costs), call.usd_per_month(asked)
        is_within = any(above < factor <= up_to for above, up_to in found)
        if not math.isclose(serving, calling, rel_tol=1e-5):
            assert (serving < calling) == is_within, (factor, serving, calling, found)
