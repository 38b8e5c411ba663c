"""The guard as a service: when it is its turn, when it goes, and what it is given."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fleets import NOW, FakeClock, make_fleet
from hypothesis import given, settings
from hypothesis import strategies as st
from test_guard import Turns

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import KeptEnvironment
from gpu_cli.fleet.guard.process import call_guard, guard_lives, lock_path
from gpu_cli.fleet.guard.run import LINGER_S, SETTLE_S, run
from gpu_cli.fleet.guard.service import service_lock_path
from gpu_cli.fleet.guard.turn import TURN_S
from gpu_cli.locks import Lock, is_held
from gpu_cli.paths import Paths


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, clock=clock)
    with closing(fleet.store):
        yield fleet


@pytest.fixture
def service(fleet: Fleet) -> Iterator[Lock]:
    lock = Lock(service_lock_path(fleet.paths))
    assert lock.try_acquire()
    yield lock
    lock.release()


def test_the_service_stays_when_nothing_lives(fleet: Fleet, service: Lock, clock: FakeClock) -> None:
    run(fleet, Turns(clock, 200), service=service)
    assert clock.now() - NOW > 190 * TURN_S > LINGER_S
    assert not guard_lives(fleet.paths)


def test_the_service_waits_until_nobody_has_guarded_for_a_while(fleet: Fleet, service: Lock, clock: FakeClock) -> None:
    other = Lock(lock_path(fleet.paths))
    assert other.try_acquire()
    took_over_at = []

    def then() -> None:
        if clock.now() == NOW + 100:
            other.release()
        if clock.now() > NOW + 100 and not took_over_at and guard_lives(fleet.paths):
            took_over_at.append(clock.now())

    clock.on_sleep = then
    run(fleet, Turns(clock, 130), service=service)
    assert SETTLE_S <= took_over_at[0] - (NOW + 100) <= SETTLE_S + 2 * TURN_S


def test_a_guard_that_is_on_its_way_goes_before_the_service(fleet: Fleet, service: Lock, clock: FakeClock) -> None:
    """Between the end of the guard that a command has stopped and the start of its own there is a while."""
    other = Lock(lock_path(fleet.paths))

    def then() -> None:
        if clock.now() == NOW + SETTLE_S - 1:
            assert other.try_acquire()

    clock.on_sleep = then
    run(fleet, Turns(clock, 60), service=service)
    assert is_held(service.path), "it waits, and can be counted on"
    other.release()


def test_the_service_cannot_be_counted_on_once_it_was_told_to_go(fleet: Fleet, service: Lock, clock: FakeClock) -> None:
    run(fleet, Turns(clock, 30), service=service)
    assert not is_held(service.path)


def test_a_record_that_was_moved_aside_is_left_for_the_one_in_its_place(
    fleet: Fleet, service: Lock, clock: FakeClock
) -> None:
    def then() -> None:
        if clock.now() >= NOW + 60 and fleet.store.path.exists():
            fleet.store.path.rename(fleet.store.path.with_name("aside"))

    clock.on_sleep = then
    run(fleet, Turns(clock, 1000), service=service)
    assert clock.now() - NOW <= 60 + 2 * TURN_S


@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1).map("MY_{}".format), st.text()))
def test_of_the_environment_nothing_is_kept_that_the_guard_has_no_use_for(
    others: dict[str, str],
) -> None:
    used = {"GPU_LAMBDA_POLL_S": "1", "RUNPOD_API_KEY": "k", "MODAL_TOKEN_ID": "m", "https_proxy": "p", "HF_TOKEN": "h"}
    with TemporaryDirectory() as folder:
        kept = KeptEnvironment(Paths.from_environ({"GPU_HOME": folder}))
        kept.keep({**others, "PASSWORD": "hunter2", "GPU_TTL": "2h", **used})
        assert kept.read() == used


def test_a_state_folder_that_was_named_from_somewhere_is_found_from_anywhere(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert KeptEnvironment(fleet.paths).keep({"GPU_HOME": "there"}) == {"GPU_HOME": str(tmp_path / "there")}


def test_a_guard_of_a_command_reaches_what_the_service_reaches_that_waits_for_it_to_go(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeptEnvironment(fleet.paths).keep({"LAMBDA_API_KEY": "kept", "RUNPOD_API_KEY": "before", "HF_TOKEN": "no cloud's"})
    started: list[Mapping[str, str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **__: started.append(env))
    call_guard(replace(fleet, environ={"RUNPOD_API_KEY": "now"}))
    assert started == [{"LAMBDA_API_KEY": "kept", "RUNPOD_API_KEY": "now"}]


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_service_without_its_environment_guards_nothing_else(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "environment.json"
    if content is not None:
        file.write_text(content)
    ran = subprocess.run(
        [sys.executable, "-m", "gpu_cli.fleet.guard.service", str(file)], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (1, f"{file} cannot be read: run gpu guard install again\n")
