"""Fault storms: many deployments, clouds that misbehave at random, and what must hold when the storm has calmed."""

import pytest
from storm import History, told
from storm_histories import some_history
from storm_plants import PLANTS, Plant
from storm_shrink import shrunk, what_breaks

BATCHES, IN_A_BATCH = 24, 10
SEEDS = BATCHES * IN_A_BATCH


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_storm_leaves_anything_behind(batch: int) -> None:
    for seed in range(batch * IN_A_BATCH, (batch + 1) * IN_A_BATCH):
        history = some_history(seed)
        assert not (problems := told(history).problems), f"{history}\n{problems}"


def test_a_history_takes_the_same_course_each_time_that_it_is_told() -> None:
    history = some_history(3)
    once, again = told(history), told(history)
    assert once.world.scheduler.handovers == again.world.scheduler.handovers
    assert once.figures == again.figures


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.bug.__name__)
def test_storms_find_a_planted_bug(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.bug(monkeypatch)
    seeds = (*range(plant.seed, SEEDS), *range(plant.seed))
    assert plant.problem in (what_breaks(some_history(seed)) for seed in seeds)


def test_a_start_that_is_taken_over_from_a_killed_launcher_may_still_fail_as_any_other() -> None:
    up = ("up", "RECIPE", "--name", "bob", "--idle", "90s", "--ttl", "900s", "--boot-deadline", "40s")
    steps = (("start", *up), ("kill",), ("start", *up), ("suspend", 200.0))
    assert not told(History(855, ("vast",), steps)).problems


def test_a_history_is_cut_down_to_what_matters() -> None:
    history = History(0, ("runpod",), (("wait", 1.0), ("use", 2.0), ("wait", 3.0), ("break",), ("wait", 4.0)))
    assert shrunk(history, lambda one: "use" if ("use", 2.0) in one.steps else "").steps == (("use", 2.0),)
