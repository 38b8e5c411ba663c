"""Spot machines of the emulated Vast.ai: rented only where they are wanted, and what happens when one is taken back."""

from collections.abc import Callable, Iterator

import pytest
from driver import Gpu, Ran, wait_until
from emulators.vast import VastEmulator

Rentable = Callable[..., str]


@pytest.fixture(scope="module")
def market() -> Iterator[VastEmulator]:
    """Vast for all tests of a module, with the stand-in for vLLM in its containers."""
    with VastEmulator(engine="stub") as cloud:
        yield cloud


@pytest.fixture
def vast(market: VastEmulator, monkeypatch: pytest.MonkeyPatch) -> VastEmulator:
    """The program is pointed at it, and impatient."""
    market.misbehaviour.clear()
    for name, value in {**market.env, "GPU_VAST_POLL_S": "0.2"}.items():
        monkeypatch.setenv(name, value)
    return market


def up(gpu: Gpu, recipe: str, *options: str) -> Ran:
    """`gpu up` at Vast."""
    return gpu("up", recipe, "--provider", "vast", "--json", *options)


def living(vast: VastEmulator) -> list[str]:
    """The ids of what exists, and may bill."""
    return [line["id"] for line in vast.bill()["resources"] if line["alive"]]


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
    wait_until(lambda: [one["state"] for one in gpu.ls()] == ["ready", "failed"], 60)
    replacement, lost = gpu.ls()
    assert lost["resource_id"] == made.json["resource_id"]
    assert (replacement["name"], living(vast)) == ("tiny", [replacement["resource_id"]])
    assert up(gpu, recipe).json["resource_id"] == replacement["resource_id"], "it is the same recipe's"
    assert gpu("down", "tiny").exit == 0
    assert living(vast) == []
    assert list((gpu.home / "state" / "recipes").iterdir()) == []
