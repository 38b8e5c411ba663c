from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.reconcile import ABANDONED, BROKEN, look, settle, why_end
from gpu_cli.fleet.stops import GUARD_GRACE_S
from gpu_providers.base import Kind, ResourceState
from gpu_providers.errors import ProviderUnavailable


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    yield fleet
    fleet.store.close()


def test_unreachable_is_not_gone(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.trouble = ProviderUnavailable("502")
    assert look(fleet, deployment()) == (deployment(), None)
    assert fleet.store.live() == [deployment()]


@pytest.mark.parametrize(
    ("state", "line", "ended_as", "reason"),
    [
        (State.READY, "[supervisor] ended reason=idle detail=no work for 600 s", State.GONE, "idle"),
        (State.READY, "[supervisor] ended reason=deadline detail=3600 s since the start", State.GONE, "deadline"),
        (State.READY, "[supervisor] ended reason=terminated detail=signal received", State.GONE, "terminated"),
        (
            State.READY,
            "[supervisor] ended reason=engine-died detail=killed by SIGKILL",
            State.FAILED,
            "engine-died: killed by SIGKILL",
        ),
        (
            State.READY,
            "[supervisor] ended reason=engine-hung detail=metrics silent for 600 s",
            State.FAILED,
            "engine-hung: metrics silent for 600 s",
        ),
        (State.LOADING, "nothing was said", State.FAILED, "ended while it was starting"),
        (State.READY, "nothing was said", State.GONE, "ended outside gpu"),
    ],
)
def test_the_last_words_of_the_supervisor_say_how_it_ended(
    fleet: Fleet, cloud: Cloud, state: State, line: str, ended_as: State, reason: str
) -> None:
    fleet.store.add(deployment(state=state))
    cloud.logged = ["some line", line]
    ended, _ = look(fleet, fleet.store.get("gpu-tiny-1"))
    assert (ended.state, ended.reason, ended.ended_at) == (ended_as, reason, NOW)


def test_an_engine_that_died_is_diagnosed_from_its_log(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.logged = [
        "torch.OutOfMemoryError: CUDA out of memory.",
        "[supervisor] ended reason=engine-died detail=exit status 1",
    ]
    ended, _ = look(fleet, deployment())
    assert ended.reason == "out-of-memory: the GPU ran out of memory"


@pytest.mark.parametrize(
    ("after_s", "active_s", "guess"), [(3600, 3599, "deadline"), (1000, 300, "idle"), (100, 90, "ended outside gpu")]
)
def test_without_last_words_what_was_due_is_the_reason(
    fleet: Fleet, clock: FakeClock, after_s: float, active_s: float, guess: str
) -> None:
    gone = deployment(active_at=NOW + active_s)
    fleet.store.add(gone)
    clock.time = NOW + after_s
    assert look(fleet, gone)[0].reason == guess


def test_a_start_that_its_launcher_watches_is_left_to_the_launcher(fleet: Fleet) -> None:
    starting = deployment(state=State.LOADING, tied=True)
    fleet.store.add(starting)
    lock = fleet.launch_lock("tiny")
    assert lock.try_acquire()
    assert look(fleet, starting) == (starting, None)
    assert why_end(fleet, starting, None) == ""
    lock.release()
    assert why_end(fleet, starting, Cloud().add("gpu-tiny-1")) == ABANDONED
    assert look(fleet, starting)[0].state is State.FAILED


@pytest.mark.parametrize(
    ("changes", "state", "after_s", "why"),
    [
        ({}, ResourceState.RUNNING, 10, ""),
        ({}, ResourceState.BROKEN, 10, "cloud says: EXITED"),
        ({"kind": Kind.PROCESS}, ResourceState.BROKEN, 10, BROKEN),
        ({}, None, 3600, "deadline"),
        ({"budget_usd": 1.0}, ResourceState.RUNNING, 1801, "budget"),
        ({"state": State.LOADING}, ResourceState.RUNNING, 1801, ""),
        ({"state": State.LOADING}, ResourceState.RUNNING, 1800 + GUARD_GRACE_S, "start-deadline"),
        ({"state": State.PLANNED, "launched_at": None}, None, 9999, ""),
        ({"state": State.TERMINATING, "reason": "idle"}, ResourceState.RUNNING, 10, "idle"),
        ({"state": State.TERMINATING, "reason": ""}, ResourceState.RUNNING, 10, "interrupted"),
        ({"state": State.GONE}, None, 9999, ""),
        ({"tied": True}, ResourceState.RUNNING, 10, ABANDONED),
    ],
)
def test_why_something_has_to_end(
    fleet: Fleet, clock: FakeClock, changes: dict[str, object], state: ResourceState | None, after_s: float, why: str
) -> None:
    clock.time = NOW + after_s
    known = deployment(**{"state": State.READY, **changes})  # type: ignore[arg-type]
    fleet.store.add(known)
    resource = replace(Cloud().add(known.resource_name, state), detail="EXITED") if state else None
    assert why_end(fleet, known, resource) == why


def test_a_launcher_that_got_done_since_the_record_was_read_has_not_been_killed(fleet: Fleet) -> None:
    loading = deployment(state=State.LOADING, tied=True)
    fleet.store.add(loading)
    fleet.store.move(loading, State.READY, at=NOW, tied=False)
    assert why_end(fleet, loading, Cloud().add("gpu-tiny-1")) == ""


def test_settling_without_a_guard_ends_what_is_overdue(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    clock.time = NOW + 3600
    assert settle(fleet) == []
    assert cloud.resources == {}
    assert fleet.store.get("gpu-tiny-1").reason == "deadline"


def test_settling_beside_a_guard_leaves_the_ending_to_it(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    clock.time = NOW + 3600
    guard = fleet.launch_lock("guard")
    assert guard.try_acquire()
    assert [one.state for one in settle(fleet)] == [State.READY]
    guard.release()


def test_another_accounts_word_that_there_is_nothing_says_nothing(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(account="mine"))
    cloud.credentials = "theirs"
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].state is State.READY
    cloud.credentials = "mine"
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].state is State.GONE
