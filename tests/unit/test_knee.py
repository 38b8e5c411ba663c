"""Where a deployment is best used, by what was measured of it."""

from dataclasses import replace

from benches import level
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.bench.knee import knee, power
from gpu_cli.bench.result import Level, Spread

SATURATES = (level(1, 100), level(2, 190), level(4, 350), level(8, 600), level(16, 700), level(32, 720))
CURVES = st.lists(st.floats(10, 1e5), min_size=2, max_size=8).map(
    lambda speeds: [level(2**position, speed) for position, speed in enumerate(speeds)]
)


def scaled(levels: list[Level], tokens: int, seconds: float) -> list[Level]:
    """As by a server of another speed, or with another unit."""
    return [
        replace(
            each,
            output_tokens=each.output_tokens * tokens,
            latency_s=each.latency_s and Spread(*(seconds * value for value in vars(each.latency_s).values())),
        )
        for each in levels
    ]


def test_the_knee_is_where_twice_as_many_requests_bring_less_than_41_percent_more() -> None:
    assert knee(SATURATES) == SATURATES[3]
    assert knee([level(1, 100), level(2, 140), level(4, 300)]) is None
    assert knee([level(1, 100), level(2, 140)]) == level(1, 100)
    assert knee([level(1, 100), level(2, 143)]) is None


def test_a_knee_that_was_not_reached_is_not_made_up() -> None:
    assert knee(SATURATES[:4]) is None
    assert knee(SATURATES[:1]) is None
    assert knee([]) is None


def test_what_is_incomplete_or_was_not_answered_does_not_count() -> None:
    partial = replace(SATURATES[4], partial="the server died")
    silent = level(16, 100, output_tokens=0, latency_s=None)
    assert knee([*SATURATES[:4], partial]) is None
    assert knee([*SATURATES[:4], silent]) is None
    assert knee([*SATURATES[:4], partial, SATURATES[5]]) == SATURATES[3]


def test_arrivals_that_pile_up_have_a_knee_too() -> None:
    def at_rate(rate: float, tokens_per_s: float, latency_s: float) -> Level:
        spread = Spread(latency_s, latency_s, latency_s)
        return replace(level(1, tokens_per_s, rate_per_s=rate, latency_s=spread), concurrency=None)

    kept_up = [at_rate(1, 256, 2.0), at_rate(2, 512, 2.1)]
    assert knee([*kept_up, at_rate(4, 600, 9.0)]) == kept_up[1]
    assert knee(kept_up) is None


@given(CURVES, st.integers(1, 1000), st.floats(1e-3, 1e3))
def test_the_knee_does_not_depend_on_units(levels: list[Level], tokens: int, seconds: float) -> None:
    found, elsewhere = knee(levels), knee(scaled(levels, tokens, seconds))
    strengths = sorted(map(power, levels))
    if strengths[-1] > 1.001 * strengths[-2]:  # else rounding decides between equals
        assert (found and found.concurrency) == (elsewhere and elsewhere.concurrency)


@given(CURVES)
def test_no_complete_level_is_better_than_the_knee_and_the_last_one_never_is(levels: list[Level]) -> None:
    found = knee(levels)
    best = max(map(power, levels))
    assert power(found or levels[-1]) == best
    assert found is not levels[-1]


@given(st.lists(st.floats(-0.03, 0.03), min_size=6, max_size=6))
def test_noise_of_a_few_percent_does_not_move_a_clear_knee(noise: list[float]) -> None:
    clear = [100, 195, 380, 740, 800, 810]
    levels = [level(2**i, speed * (1 + noise[i])) for i, speed in enumerate(clear)]
    assert knee(levels) == levels[3]
