"""The `runpod` section of a recipe: what it may say, and what a user reads who has mistyped it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.errors import InvalidRequest
from gpu_providers.runpod.names import COMMUNITY, SECURE
from gpu_providers.runpod.options import Options, disk_gb, parse_options


def test_a_recipe_that_says_nothing_gets_the_secure_cloud_anywhere() -> None:
    assert parse_options({}) == Options()
    assert parse_options({}).clouds == (SECURE,)


@pytest.mark.parametrize(
    ("word", "clouds"),
    [
        ("secure", (SECURE,)),
        ("community", (COMMUNITY,)),
        ("any", (SECURE, COMMUNITY)),
    ],
)
def test_the_community_cloud_is_used_only_when_the_recipe_says_so(word: str, clouds: tuple[str, ...]) -> None:
    assert parse_options({"cloud": word}).clouds == clouds


def test_every_option_arrives() -> None:
    said = {
        "cloud": "any",
        "regions": ["EU-RO-1", "US-KS-2"],
        "registry": "cred-1",
        "disk_gb": 200,
        "workers_min": 1,
        "workers_max": 3,
        "flashboot": False,
        "timeout": 900,
    }
    assert parse_options(said) == Options(
        clouds=(SECURE, COMMUNITY),
        regions=("EU-RO-1", "US-KS-2"),
        registry="cred-1",
        disk_gb=200,
        workers_min=1,
        workers_max=3,
        flashboot=False,
        timeout_s=900,
    )


def test_regions_are_sent_in_capitals_because_runpod_knows_no_others() -> None:
    assert parse_options({"regions": ["eu-ro-1"]}).regions == ("EU-RO-1",)


def test_more_workers_that_always_run_raise_the_most_that_may_run() -> None:
    assert parse_options({"workers_min": 2}).workers_max == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"cloud": "cheap"}, "cloud"),
        ({"cloud": ["secure"]}, "cloud"),
        ({"regions": "EU-RO-1"}, "regions"),
        ({"regions": ["Romania!"]}, "regions"),
        ({"regions": [1]}, "regions"),
        ({"registry": 7}, "registry"),
        ({"disk_gb": 0}, "disk_gb"),
        ({"disk_gb": "200"}, "disk_gb"),
        ({"workers_min": -1}, "workers_min"),
        ({"workers_max": 0}, "workers_max"),
        ({"workers_min": 3, "workers_max": 2}, "workers_max"),
        ({"flashboot": "yes"}, "flashboot"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": True}, "timeout"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name_and_with_what_would(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named) as refused:
        parse_options(options)
    assert refused.value.hint.startswith("give ")


def test_a_mistyped_option_is_met_with_the_right_one() -> None:
    with pytest.raises(InvalidRequest, match="no option 'region'") as refused:
        parse_options({"region": ["EU-RO-1"]})
    assert refused.value.hint == "did you mean 'regions'?"


@given(st.integers(min_value=0, max_value=4000))
def test_the_disk_is_never_smaller_than_what_was_asked_for(gib: int) -> None:
    ordered_gb = disk_gb(Options(), gib)
    assert ordered_gb * 10**9 >= gib * 2**30
    assert ordered_gb >= 20


def test_the_recipes_disk_goes_before_what_the_launch_asks_for() -> None:
    assert disk_gb(Options(disk_gb=300), 50) == 300
