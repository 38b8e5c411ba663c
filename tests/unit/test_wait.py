"""`gpu wait` beside a launch that has nothing on record yet."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from fleets import Cloud, deployment, make_fleet
from typer.testing import CliRunner

from gpu_cli.app import app
from gpu_cli.errors import UserError
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.locks import released


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    monkeypatch.setattr("gpu_cli.fleet.guard.process.ensure_guard", lambda _: None)
    fleet = make_fleet(tmp_path, Cloud(), Clock())
    with closing(fleet.store):
        yield fleet


def wait(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["wait", *arguments])


def refused(*arguments: str) -> str:
    error = wait(*arguments).exception
    assert isinstance(error, UserError)
    return error.code


def test_while_a_launch_has_nothing_by_its_name_yet_it_is_waited_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offers race, or it is between two of them."""

    def sleep(_: Clock, _seconds: float) -> None:
        if not fleet.store.live():
            fleet.store.add(deployment())

    monkeypatch.setattr(Clock, "sleep", sleep)
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        result = wait("tiny")
    assert (result.exit_code, result.stdout) == (0, "http://cloud/v1\n"), result.stderr


def test_no_longer_than_it_should_be_waited_for(fleet: Fleet) -> None:
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        assert refused("tiny", "--timeout", "0.1s") == "still-starting"
    assert refused("tiny") == "no-such-deployment"
