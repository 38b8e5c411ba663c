"""Spot machines of the emulated Vast.ai: rented only where they are wanted, and what happens when one is taken back."""

from collections.abc import Callable

import pytest
from driver import Gpu, wait_until
from emulators.vast import VastEmulator
from rented_at_vast import living, up

Rentable = Callable[..., str]


@pytest.fixture(scope="module")
def engine() -> str:
    """Nobody asks it anything here that wants a process."""
    return "pretend"


def test_a_machine_that_can_be_taken_back_is_rented_only_where_that_was_asked_for(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100")
    sold = {
        options: gpu("plan", recipe, "--provider", "vast", "--json", *options).json["candidates"]
        for options in ((), ("--spot",))
    }
    spot = [candidate["offer_id"] for candidate in sold["--spot",] if candidate["offer_id"].startswith("vast-spot-")]
    assert spot
    assert not [candidate for candidate in sold[()] if candidate["offer_id"] in spot]


def test_what_was_taken_back_is_destroyed_and_told(gpu: Gpu, vast: VastEmulator, rentable: Rentable) -> None:
    made = up(gpu, rentable("H100"), "--spot")
    assert made.exit == 0, made.stderr
    vast.outbid(int(made.json["resource_id"]))
    wait_until(lambda: gpu.ls()[0]["state"] == "failed")
    assert gpu.ls()[0]["reason"].startswith("taken back: outbid")
    told = gpu("url", "tiny")
    assert told.exit == 8
    assert "taken back: outbid" in told.stderr
    assert living(vast) == []


def test_what_was_taken_back_is_replaced_where_the_recipe_says_so(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100", spot=True, when_lost="replace")
    made = up(gpu, recipe, "--budget", "9")
    assert made.exit == 0, made.stderr
    vast.outbid(int(made.json["resource_id"]))
    wait_until(lambda: [one["state"] for one in gpu.ls()] == ["ready", "failed"])
    replacement, lost = gpu.ls()
    assert lost["resource_id"] == made.json["resource_id"]
    assert replacement["base_url"] == made.json["base_url"]
    assert (replacement["name"], living(vast)) == ("tiny", [replacement["resource_id"]])
    assert up(gpu, recipe).json["resource_id"] == replacement["resource_id"], "it is the same recipe's"
    assert gpu("down", "tiny").exit == 0
    assert living(vast) == []
    assert list((gpu.home / "state" / "recipes").iterdir()) == []
