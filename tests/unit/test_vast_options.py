"""The `vast` section of a recipe: what it may say, and what a user reads who has mistyped it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.vast.options import Options, disk_gb, parse_options


def test_a_recipe_that_says_nothing_gets_what_a_careful_person_would_ask_for() -> None:
    options = parse_options({})
    assert options == Options()
    assert (options.verified, options.reliability) == (True, 0.97)
    assert (options.min_inet_down_mbps, options.min_direct_ports) == (500, 1)
    assert (options.regions, options.datacenter, options.disk_gb) == ((), False, None)
    assert (options.bid_margin, options.bid_usd_per_hour) == (1.1, None)


def test_every_option_arrives() -> None:
    said = {
        "reliability": 0.99,
        "verified": False,
        "datacenter": True,
        "regions": ["se", "US"],
        "min_duration": 604800,
        "min_inet_down_mbps": 2000,
        "min_direct_ports": 2,
        "disk_gb": 200,
        "bid_margin": 1.25,
        "bid_usd_per_hour": 1.5,
    }
    assert parse_options(said) == Options(
        reliability=0.99,
        verified=False,
        datacenter=True,
        regions=("SE", "US"),
        min_duration_s=604800,
        min_inet_down_mbps=2000,
        min_direct_ports=2,
        disk_gb=200,
        bid_margin=1.25,
        bid_usd_per_hour=1.5,
    )


def test_no_bid_of_its_own_may_be_said_in_so_many_words() -> None:
    assert parse_options({"bid_usd_per_hour": None}).bid_usd_per_hour is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reliability": 97}, "reliability"),
        ({"reliability": "0.97"}, "reliability"),
        ({"reliability": True}, "reliability"),
        ({"reliability": float("nan")}, "reliability"),
        ({"verified": "no"}, "verified"),
        ({"datacenter": 1}, "datacenter"),
        ({"regions": "SE"}, "regions"),
        ({"regions": ["Sweden"]}, "regions"),
        ({"regions": [False]}, "regions"),
        ({"min_duration": "1d"}, "min_duration"),
        ({"min_duration": -1}, "min_duration"),
        ({"min_duration": float("inf")}, "min_duration"),
        ({"min_inet_down_mbps": 10**400}, "min_inet_down_mbps"),
        ({"min_direct_ports": 0}, "min_direct_ports"),
        ({"min_direct_ports": 1.5}, "min_direct_ports"),
        ({"disk_gb": 7}, "disk_gb"),
        ({"disk_gb": None}, "disk_gb"),
        ({"bid_margin": 0.9}, "bid_margin"),
        ({"bid_usd_per_hour": 0}, "bid_usd_per_hour"),
        ({"bid_usd_per_hour": 129}, "bid_usd_per_hour"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name_and_with_what_would(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"provider vast: {named} is ") as refused:
        parse_options(options)
    assert refused.value.hint.startswith("give ")


def test_the_bounds_of_a_number_are_told() -> None:
    with pytest.raises(InvalidRequest) as reliability:
        parse_options({"reliability": 97})
    assert reliability.value.hint == "give a number, from 0 to 1"
    with pytest.raises(InvalidRequest) as margin:
        parse_options({"bid_margin": 0.9})
    assert margin.value.hint == "give a number, 1 or more"


def test_a_mistyped_option_is_met_with_the_right_one() -> None:
    with pytest.raises(InvalidRequest, match="'realiability'") as refused:
        parse_options({"realiability": 0.9})
    assert refused.value.hint == "did you mean 'reliability'?"


def test_an_option_like_no_other_is_met_with_all_there_are() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_options({"cloud": "secure"})
    assert "min_inet_down_mbps" in refused.value.hint


def test_the_disk_is_counted_in_their_gigabytes_and_never_less_than_they_take() -> None:
    assert disk_gb(Options(), 100) == 108  # 100 GiB are 107.4 GB
    assert disk_gb(Options(), 1) == 8
    assert disk_gb(Options(), 0) == 8


def test_the_recipes_disk_is_taken_at_its_word() -> None:
    assert disk_gb(Options(disk_gb=50), 100) == 50


@given(st.integers(0, 100_000))
def test_the_disk_always_holds_what_was_asked_for(disk_gib: int) -> None:
    assert disk_gib * 2**30 <= disk_gb(Options(), disk_gib) * 10**9
