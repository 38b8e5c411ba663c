import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.units import MAX_DURATION_S, format_duration, format_usd, parse_duration, parse_usd, plain_usd


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20s", 20), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("0.5s", 0.5), ("45", 45), (45, 45)],
)
def test_a_duration_is_read_in_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


NO_DURATIONS = [
    "",
    " ",
    "0",
    "0s",
    "-5",
    "5 m",
    "m",
    "1m1h",
    "1:30",
    "on",
    "½",
    "٣s",
    "1e3",
    "0.0001",
    "366d",
    "9" * 5000,
]


@pytest.mark.parametrize("value", [*NO_DURATIONS, True, None, -1, 0, math.nan, math.inf, 1e300, [], {}])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_duration(value)


@given(st.integers(1, round(MAX_DURATION_S * 1000)))
def test_every_duration_is_read_back_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-6)


@given(st.text() | st.floats() | st.integers() | st.booleans() | st.none())
def test_whatever_is_accepted_as_a_duration_is_above_zero_and_finite(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert 0 < seconds <= MAX_DURATION_S


def test_durations_are_written_short() -> None:
    assert [format_duration(s) for s in (0, 0.25, 59, 60, 5400, 86_400, 90_061)] == [
        "0s",
        "0.25s",
        "59s",
        "1m",
        "1h30m",
        "1d",
        "1d1h1m1s",
    ]


@pytest.mark.parametrize(("value", "usd"), [(5, 5.0), (2.5, 2.5), ("5", 5.0), ("2.50", 2.5)])
def test_money_is_read_in_dollars(value: object, usd: float) -> None:
    assert parse_usd(value) == usd


@pytest.mark.parametrize(
    "value", ["", "0", 0, -1, "-1", "5 USD", "$5", "1,000", "1e9", 1e9, True, None, math.nan, math.inf, "٣"]
)
def test_money_that_looks_odd_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_usd(value)


@given(st.floats(1e-9, 1e6))
def test_money_in_a_file_is_read_back_exactly(usd: float) -> None:
    assert parse_usd(plain_usd(usd)) == usd


def test_money_shows_cents_and_smaller_amounts_show_more() -> None:
    assert [format_usd(usd) for usd in (0, 5, 2.999, 1234.5, 0.0042, -3)] == [
        "$0.00",
        "$5.00",
        "$3.00",
        "$1,234.50",
        "$0.0042",
        "-$3.00",
    ]
