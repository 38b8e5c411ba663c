"""`gpu up --race N` at emulated clouds: one is kept, the others are gone, and a command that ends leaves nothing."""

import signal
from collections.abc import Callable

import pytest
from driver import Gpu, Running, wait_until
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from rented_at_vast import created, destroyed, living, machines, up

Rentable = Callable[..., str]
RACE = ("--race", "2")


def test_the_first_that_is_healthy_is_kept_and_the_other_is_destroyed_and_told_of(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "never-boots", "times": 1})
    kept = up(gpu, rentable("H100"), *RACE)
    assert kept.exit == 0, kept.stderr
    assert (kept.json["name"], kept.json["state"]) == ("tiny", "ready")
    assert living(vast) == [kept.json["resource_id"]]
    assert len(destroyed(vast)) == 1
    assert len(set(machines(vast))) == 2
    assert {body["label"].rpartition("-")[0] for body in created(vast)} == {"gpu-tiny"}
    lost, won = kept.json["tried"]
    assert (lost["failure"], lost["message"], won["message"]) == (None, "lost the race", "ready")
    assert "has won the race, which cost $" in kept.stderr
    assert f"{won['offer_id']}: boot " in kept.stderr
    there, gone = gpu.ls()
    assert (there["name"], there["state"]) == ("tiny", "ready")
    assert (gone["state"], gone["reason"]) == ("gone", "lost the race")
    assert gone["name"] in ("tiny-race-1", "tiny-race-2")
    assert gpu("chat", "tiny", stdin="hello").exit == 0
    assert gpu("down", "tiny").exit == 0
    assert living(vast) == []


def test_across_clouds_those_that_cannot_be_had_are_replaced(
    gpu: Gpu, vast: VastEmulator, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "no-capacity"})
    kept = gpu("up", rentable("H100"), "--json", *RACE)
    assert kept.exit == 0, kept.stderr
    assert kept.json["provider"] == "runpod"
    assert living(vast) == []
    alive = [line["id"] for line in cloud.bill()["resources"] if line["alive"]]
    assert alive == [kept.json["resource_id"]]
    assert "no-capacity" in {one["failure"] for one in kept.json["tried"] if one["provider"] == "vast"}


@pytest.fixture
def under_way(gpu: Gpu, vast: VastEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A race in which both have been made, and neither will be healthy."""
    monkeypatch.setattr(vast, "engine", "none")
    running = gpu.start("up", rentable("H100"), "--provider", "vast", "--json", *RACE)
    wait_until(lambda: len(living(vast)) == 2)
    assert sorted(one["name"] for one in gpu.ls()) == ["tiny-race-1", "tiny-race-2"]
    return running


def test_an_interrupted_race_leaves_nothing(gpu: Gpu, vast: VastEmulator, under_way: Running) -> None:
    under_way.signal(signal.SIGINT)
    ended = under_way.result()
    assert (ended.exit, ended.error["code"]) == (130, "interrupted"), ended.stderr
    assert "Traceback" not in ended.stderr
    assert living(vast) == []
    assert [(one["state"], one["reason"]) for one in gpu.ls()] == [("failed", "interrupted")] * 2


def test_what_a_killed_race_has_ordered_is_ended_by_the_guard(gpu: Gpu, vast: VastEmulator, under_way: Running) -> None:
    under_way.signal(signal.SIGKILL)
    wait_until(lambda: not living(vast))
    wait_until(lambda: [one["state"] for one in gpu.ls()] == ["failed"] * 2)
    assert {one["reason"] for one in gpu.ls()} == {"the command that launched it was killed"}


def test_down_by_the_wanted_name_ends_a_race(gpu: Gpu, vast: VastEmulator, under_way: Running) -> None:
    down = gpu("down", "tiny", "--json")
    assert down.exit == 0, down.stderr
    assert len(down.json["ended"]) == 2
    assert living(vast) == []
    assert under_way.result().error["code"] == "ended-while-starting"
