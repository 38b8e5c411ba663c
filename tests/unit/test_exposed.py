"""The port at which the guard serves its metrics: as the user wants it, turn by turn."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fleets import FakeClock, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.exposed import Exposed
from gpu_cli.fleet.guard.metrics_port import serve_at, served_port, told, wanted_port
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.locks import Lock, released


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, clock: FakeClock) -> Iterator[Fleet]:
    """Its guard is this process."""
    fleet = make_fleet(tmp_path, clock=clock)
    with closing(fleet.store), released(Lock(lock_path(fleet.paths))) as lock:
        assert lock.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} 0.1\n")
        yield fleet


@pytest.fixture
def exposed(fleet: Fleet, clock: FakeClock) -> Iterator[Exposed]:
    """It has its turn whenever somebody sleeps."""
    with closing(Exposed(fleet)) as exposed:
        clock.on_sleep = exposed.attend
        yield exposed


@pytest.fixture
def port() -> int:
    """One that is free."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        free: int = taken.getsockname()[1]
    return free


def test_it_is_served_where_it_is_wanted_and_nowhere_else(fleet: Fleet, exposed: Exposed, port: int) -> None:
    exposed.attend()
    assert served_port(fleet.paths) is None
    assert serve_at(fleet, port)
    assert served_port(fleet.paths) == port
    assert serve_at(fleet, None)
    socket.create_server(("127.0.0.1", port)).close()  # it is free again


def test_a_port_that_is_taken_meanwhile_is_told_of_once_and_tried_with_every_turn(
    fleet: Fleet, exposed: Exposed, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_at(fleet, port)
    exposed.close()
    after_a_restart = Exposed(fleet)
    with closing(after_a_restart), closing(socket.create_server(("127.0.0.1", port))) as other:
        after_a_restart.attend()
        after_a_restart.attend()
        said = told(fleet.paths)
        assert said
        assert (said.problem, served_port(fleet.paths)) == (f"port {port}: Address already in use", None)
        assert capsys.readouterr().err == f"metrics: port {port}: Address already in use\n"
        other.close()
        after_a_restart.attend()
        assert served_port(fleet.paths) == port


def test_a_guard_that_does_not_take_it_up_is_not_waited_for_for_ever(fleet: Fleet, port: int) -> None:
    with pytest.raises(UserError, match="the guard has not taken it up"):
        serve_at(fleet, port)
    assert wanted_port(fleet.paths) == port
