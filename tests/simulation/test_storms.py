"""Fault storms: many deployments, clouds that misbehave at random, and what must hold when the storm has calmed."""

import os
import subprocess
import sys

import pytest
from storm import History, told
from storm_histories import some_history
from storm_plants import PLANTS, Plant
from storm_shrink import shrunk, what_breaks
from virtual_clouds import CLOUDS

from gpu_cli.fleet.deployment import Deployment

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


def _an_hour(cloud: str) -> History:
    up = ("up", "RECIPE", "--name", "ada", "--idle", "60s", "--ttl", "2h")
    return History(0, (cloud,), (("gpu", *up), ("use", 3600.0), ("wait", 3600.0)))


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_the_money_of_an_hour_is_right_and_seen_to_be_wrong_where_it_is(
    cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not told(_an_hour(cloud)).problems
    spent_usd = Deployment.spent_usd
    monkeypatch.setattr(Deployment, "spent_usd", lambda one, now: 0.98 * spent_usd(one, now))
    assert what_breaks(_an_hour(cloud)) == "ledger"


def test_the_order_of_sets_changes_no_history() -> None:
    program = "import sys; sys.path[:0] = eval(sys.argv[1]); import test_storms; test_storms.show_course()"
    again = [
        subprocess.run(
            [sys.executable, "-c", program, repr(sys.path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert again[0] == again[1] != ""


def show_course() -> None:
    """Prints what a few histories have come to."""
    for seed in range(2):
        teller = told(some_history(seed))
        sys.stdout.write(f"{teller.world.scheduler.handovers} {sorted(teller.figures.items())}\n")


def test_a_resource_that_outlives_its_own_stop_is_billed_until_it_was_last_seen() -> None:
    up = ("up", "RECIPE", "--idle", "90s", "--ttl", "900s", "--start-deadline", "240s", "--boot-deadline", "100s")
    steps = (
        ("start", *up, "--name", "ada", "--no-wait"),
        ("rule", "vast", {"do": "never-boots"}),
        ("rule", "vast", {"do": "delete-204-stays", "call": "delete"}),
        ("gpu", *up, "--name", "eve", "--budget", "0.05", "--provider", "vast"),
    )
    assert not told(History(1993, ("runpod", "vast"), steps)).problems


def test_a_status_that_is_new_bills_no_less_than_what_runs() -> None:
    up = ("up", "RECIPE", "--name", "ada", "--idle", "60s", "--ttl", "900s", "--provider", "vast")
    rule = {"do": "unknown-enum", "call": "any", "times": 2}
    assert not told(History(5187, ("vast",), (("gpu", *up), ("rule", "vast", rule), ("wait", 40.0)))).problems


def test_a_start_that_is_taken_over_from_a_killed_launcher_may_still_fail_as_any_other() -> None:
    up = ("up", "RECIPE", "--name", "bob", "--idle", "90s", "--ttl", "900s", "--boot-deadline", "40s")
    steps = (("start", *up), ("kill",), ("start", *up), ("suspend", 200.0))
    assert not told(History(855, ("vast",), steps)).problems


def test_a_history_is_cut_down_to_what_matters() -> None:
    history = History(0, ("runpod",), (("wait", 1.0), ("use", 2.0), ("wait", 3.0), ("break",), ("wait", 4.0)))
    assert shrunk(history, lambda one: "use" if ("use", 2.0) in one.steps else "").steps == (("use", 2.0),)
