"""The `lambda` section of a recipe: what it may say, and what a user reads who has mistyped it."""

from pathlib import Path
from typing import Any

import pytest

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest
from gpu_providers.lambda_cloud.options import Options, parse_options, regions_of

WEIGHTS = Volume("lambda", "398578a2336b49079e74043f0bd2cfe8", "weights", 0, "us-east-3", None)


def test_a_recipe_that_says_nothing_gets_a_machine_anywhere_that_is_ready_for_containers() -> None:
    expected = Options(regions=(), image_family="lambda-stack-24-04", ssh_key=None, on_node_key=False)
    assert parse_options({}) == expected


def test_every_option_arrives() -> None:
    said = {
        "regions": ["us-east-1", "US-West-2"],
        "image_family": "gpu-base-24-04",
        "ssh_key": "/keys/id_ed25519",
        "on_node_key": True,
    }
    assert parse_options(said) == Options(
        regions=("us-east-1", "us-west-2"),
        image_family="gpu-base-24-04",
        ssh_key=Path("/keys/id_ed25519"),
        on_node_key=True,
    )


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_options({"ssh_key": "~/.ssh/id_ed25519"}).ssh_key == Path("/home/me/.ssh/id_ed25519")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"regions": "us-east-1"}, "regions"),
        ({"regions": ["Virginia"]}, "regions"),
        ({"regions": ["us-east-1", 3]}, "regions"),
        ({"image_family": ""}, "image_family"),
        ({"image_family": None}, "image_family"),
        ({"image_family": "Lambda Stack"}, "image_family"),
        ({"ssh_key": ""}, "ssh_key"),
        ({"on_node_key": "secret_0123"}, "on_node_key"),
        ({"ssh_key": None}, "ssh_key"),
        ({"ssh_key": True}, "ssh_key"),
        ({"ssh_key": "id_ed25519"}, "ssh_key"),
        ({"ssh_key": "~/.ssh/id_ed25519.pub"}, "ssh_key"),
        ({"ssh_key": "~no-such-user/.ssh/id_ed25519"}, "ssh_key"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name_and_with_what_would(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"provider lambda: {named} is ") as refused:
        parse_options(options)
    assert refused.value.hint.startswith("give ")


def test_a_mistyped_option_is_met_with_the_right_one() -> None:
    with pytest.raises(InvalidRequest, match="provider lambda has no option 'image_familiy'") as refused:
        parse_options({"image_familiy": "lambda-stack-24-04"})
    assert refused.value.hint == "did you mean 'image_family'?"


def test_without_a_filesystem_the_recipe_decides_where_a_machine_is() -> None:
    assert regions_of(Options(), None) == ()
    assert regions_of(Options(regions=("us-east-1",)), None) == ("us-east-1",)


@pytest.mark.parametrize("regions", [(), ("us-west-1", "us-east-3")], ids=["anywhere", "among others"])
def test_a_filesystem_decides_where_its_machine_is(regions: tuple[str, ...]) -> None:
    assert regions_of(Options(regions=regions), WEIGHTS) == ("us-east-3",)


def test_a_filesystem_outside_of_the_recipes_regions_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="weights is in us-east-3"):
        regions_of(Options(regions=("us-west-1",)), WEIGHTS)
