"""The `modal` section of a recipe: what it may say, and what a user reads who has mistyped it."""

from typing import Any

import pytest

from gpu_providers.errors import InvalidRequest
from gpu_providers.modal_cloud.options import Endpoint, Options, parse_options


def test_a_recipe_that_says_nothing_gets_one_container_anywhere_behind_a_function() -> None:
    assert parse_options({}) == Options()
    assert parse_options({}).endpoint is Endpoint.FUNCTION
    assert (parse_options({}).regions, parse_options({}).max_containers) == ((), 1)


def test_every_option_of_modal_arrives() -> None:
    said = {
        "endpoint": "server",
        "cpu": 0.5,
        "memory_gib": 48,
        "region": ["us-east", "eu"],
        "max_containers": 4,
        "timeout_s": 900,
        "registry_secret": "my-registry",
    }
    assert parse_options(said) == Options(Endpoint.SERVER, 0.5, 48, ("us-east", "eu"), 4, 900, "my-registry")


def test_one_region_needs_no_list_around_it() -> None:
    assert parse_options({"region": "us"}) == parse_options({"region": ["us", "us"]}) == Options(regions=("us",))


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("endpoint", "pod", "give one of function, server"),
        ("endpoint", ["server"], "give one of function, server"),
        ("cpu", 0, "give a number, from 0.125 to 256"),
        ("cpu", True, "give a number"),
        ("memory_gib", "much", "give a number, from 1 to 4096"),
        ("region", "US East", "such as us or [us-east, eu-west]"),
        ("region", 3, "such as us or [us-east, eu-west]"),
        ("region", ["us", None], "such as us or [us-east, eu-west]"),
        ("max_containers", 0, "give a whole number, from 1 to 1000"),
        ("timeout_s", 86401, "give a whole number, from 1 to 86400"),
        ("registry_secret", "", "REGISTRY_USERNAME"),
        ("registry_secret", "user:password", "REGISTRY_USERNAME"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_with_what_would(option: str, value: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_options({option: value})
    assert refused.value.message.startswith(f"provider modal: {option} is ")
    assert hint in refused.value.hint


def test_a_mistyped_option_of_modal_is_told_the_right_one() -> None:
    with pytest.raises(InvalidRequest, match="provider modal has no option 'regions'") as refused:
        parse_options({"regions": ["us"]})
    assert refused.value.hint == "did you mean 'region'?"
