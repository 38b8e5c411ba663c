"""Wherever `gpu up`, `gpu down` and the guard are killed: nothing is left, and nothing healthy is lost."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from kill_account import BYSTANDER, VICTIM, Account, Count, Open, settled
from kill_points import Point, When, points_of
from kill_server import PATIENCE_S, TURN_S

CLOUDS = ("runpod", "vast", "lambda", "modal")
TRIES = 5
CHANGING = re.compile(
    r"(POST|DELETE) /v2/(pods|serverless).*|(PUT|DELETE) /api/v0/(asks|instances/\{id\}).*|(POST|DELETE) /api/v1/.*"
    r"|App(Create|Publish|Stop)|Function(Prec|C)reate|WebhookToken(Create|Delete)"
)
"""Calls after which something may be left, or gone."""
PARTS = [*(("runpod", 0, 1), ("vast", 0, 1), ("lambda", 0, 1)), *(("modal", part, 3) for part in range(3))]
"""Of the points of a cloud, where there are many of them."""
EVERYTHING = "GPU_TEST_ALL_KILLS" in os.environ
"""All points in all ways; otherwise of calls that only read as many as time allows."""
READS_KILLED_ALONE = {"modal": 0}
"""How many of a kind, where not one: Modal's client makes dozens of calls."""


Strikes = Sequence[tuple[str, Point]]
"""A command's name, and where it is killed."""


def all_points(world: Account) -> Strikes:
    """Of `up` and of `down`."""
    ups = world.calls_of(lambda: world.start(*world.up()))
    downs = world.calls_of(lambda: world.start("down", VICTIM))
    return [*(("up", point) for point in points_of(ups)), *(("down", point) for point in points_of(downs))]


def some(strikes: Strikes, *reads: When, most: int = 1) -> Strikes:
    """Those at calls that change something; of the others those at these moments, and `most` of a kind: whether a call
    that only reads was answered leaves the cloud as it was.
    """
    return [
        (command, at)
        for command, at in strikes
        if EVERYTHING or CHANGING.fullmatch(at.call) or (at.when in reads and at.nth <= most)
    ]


def kill(world: Account, command: str, point: Point, *, guard_too: bool, home: Path | None = None) -> str:
    """What was done, and what it left. Who polls may get its answer sooner, and not come to the point: then again.

    Each time at another moment between two looks of its guard, which may be the faster one to end something.
    """
    arguments = world.up() if command == "up" else ("down", VICTIM)
    for tried in range(TRIES):
        if command == "down":
            world.bring_up(VICTIM, home=home)
        time.sleep(tried * TURN_S / TRIES)
        ended = world.kill_at(point, lambda: world.start(*arguments, home=home), guard_too=guard_too)
        if world.trap.struck:
            return f"{world.provider}: {command}, killed {point}, has left {world.left()}"
        assert ended.exit == 0, ended
        if command == "up":
            assert world.run("down", VICTIM, home=home).exit == 0
    done = f"{world.provider}: {command} never came to {point}"
    # Otherwise its guard may have been faster each time, and what is read depends on what was found.
    assert not (guard_too and CHANGING.fullmatch(point.call)), done
    return done


def gc(world: Account, killed: str, *, home: Path | None = None) -> str:
    """What was done so far."""
    collected = world.run("gc", "--yes", "--json", home=home)
    assert collected.exit == 0, f"{killed}: {collected}"
    return f"{killed}: {collected}"


def by_gc(world: Account, command: str, point: Point) -> None:
    """It and its guard are killed, and gc clears away what they leave."""
    done = gc(world, kill(world, command, point, guard_too=True))
    assert world.left() == world.healthy, done
    assert world.on_record() <= {BYSTANDER}, done


def by_guard(world: Account, command: str, point: Point) -> None:
    """It alone is killed, and its guard clears away what it leaves before it calls it gone."""
    done = kill(world, command, point, guard_too=False)
    assert settled(lambda: world.on_record() <= {BYSTANDER}, within_s=PATIENCE_S), done
    assert set(world.living()) <= set(world.healthy), done
    done = gc(world, done)
    assert world.left() == world.healthy, done


@pytest.mark.parametrize(("provider", "part", "parts"), PARTS)
def test_what_is_killed_with_its_guard_is_cleared_away_by_gc(
    account: Open, count: Count, provider: str, part: int, parts: int
) -> None:
    world = account(provider)
    world.bring_up_bystander()
    for command, point in count(some(all_points(world), When.AFTER, most=1)[part::parts]):
        by_gc(world, command, point)


@pytest.mark.parametrize(("provider", "part", "parts"), PARTS)
def test_what_is_killed_alone_is_cleared_away_by_its_guard(
    account: Open, count: Count, provider: str, part: int, parts: int
) -> None:
    world, most = account(provider), READS_KILLED_ALONE.get(provider, 1)
    world.bring_up_bystander()
    for command, point in count(some(all_points(world), When.BEFORE, most=most)[part::parts]):
        by_guard(world, command, point)


@pytest.mark.parametrize("provider", CLOUDS)
def test_what_is_killed_is_cleared_away_from_a_machine_that_knows_nothing(
    account: Open, count: Count, provider: str
) -> None:
    world = account(provider)
    for number, (command, point) in enumerate(count(some(all_points(world)))):
        done = kill(world, command, point, guard_too=True, home=world.folder / f"home-{number}")
        done = gc(world, done, home=world.folder / f"empty-{number}")
        assert world.living() == [], done


@pytest.mark.parametrize("provider", CLOUDS)
def test_what_a_killed_guard_was_ending_is_ended_by_the_next_one(account: Open, count: Count, provider: str) -> None:
    world = account(provider)
    world.bring_up_bystander()

    def is_over() -> bool:
        return set(world.living()) <= set(world.healthy) and world.on_record() == {BYSTANDER}

    world.make_overdue()
    calls = world.calls_of_guard(is_over)
    for point in count([at for _, at in some([("guard", at) for at in points_of(calls)], When.AFTER, most=1)]):
        world.make_overdue()
        world.kill_guard_at(point, is_over)
        done = f"{provider}: the guard, killed {point}, has left {world.left()}"
        world.start_guard()
        assert settled(is_over, within_s=PATIENCE_S), done
        gc(world, done)
        assert world.left() == world.healthy, done


AFTER_CREATE = Point("POST /v2/pods", 1, When.AFTER)
ERRORS = {"do": "server-error", "call": "delete", "times": 3}


@pytest.mark.parametrize(
    ("plant", "rules", "check"),
    [("no-intent", [], by_guard), ("no-search", [], by_guard), ("errors-are-gone", [ERRORS], by_gc)],
    ids=["no-intent", "no-search", "errors-are-gone"],
)
def test_a_bug_that_leaks_is_found(
    account: Open, plant: str, rules: Sequence[Mapping[str, object]], check: Callable[..., None]
) -> None:
    sound, buggy = account("runpod"), account("runpod", plant=plant)
    for world in (sound, buggy):
        world.cloud.misbehave(*rules)
    check(sound, "up", AFTER_CREATE)
    with pytest.raises(AssertionError, match="has left"):
        check(buggy, "up", AFTER_CREATE)
