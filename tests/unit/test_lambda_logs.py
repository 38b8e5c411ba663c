"""The log of a machine: of its set-up, and of its container, over a real SSH server."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from a_sshd import HAS_SSHD, make_key
from lambda_vm import NAME, LaunchedVm

from gpu_providers.errors import NotFound, ProviderUnavailable
from gpu_providers.lambda_cloud.logs import machine_log

pytestmark = pytest.mark.skipif(not HAS_SSHD, reason="needs OpenSSH's server")
SET_UP = ["[set-up] waiting for Docker", "[set-up] starting the container"]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[LaunchedVm]:
    """Set up, with a container that runs and has printed nothing."""
    launched = LaunchedVm(tmp_path, met=True, service_url="http://127.0.0.1:8000")
    launched.vm.has_container()
    folder = launched.vm.home / ".gpu-machine"
    folder.mkdir()
    (folder / "set_up.log").write_text("".join(f"{line}\n" for line in SET_UP))
    with launched.sshd:
        yield launched
    launched.vm.has_container("exited 0")  # whatever still follows its log comes to its end


def lines(launched: LaunchedVm, **how: Any) -> Iterator[str]:
    usual: dict[str, Any] = {"tail": None, "follow": False, "stop": lambda: False, "poll_s": 0.05}
    return machine_log(launched.machines, NAME, **{**usual, **how})


def test_the_lines_of_the_set_up_come_before_those_of_the_container(runs: LaunchedVm) -> None:
    runs.vm.prints("one", "", "\ttwo  ", "three\r")
    assert list(lines(runs)) == [*SET_UP, "one", "", "\ttwo  ", "three"]


def test_a_tail_is_of_both_together(runs: LaunchedVm) -> None:
    runs.vm.prints("one", "two")
    whole = [*SET_UP, "one", "two"]
    for tail in (0, 1, 3, 4, 9):
        assert list(lines(runs, tail=tail)) == whole[max(0, 4 - tail) :]


def test_a_container_that_has_ended_keeps_its_log(runs: LaunchedVm) -> None:
    runs.vm.has_container("exited 3")
    runs.vm.prints("why")
    assert list(lines(runs, tail=1)) == ["why"]


def test_a_machine_without_a_container_tells_of_its_set_up_alone(runs: LaunchedVm) -> None:
    (runs.vm.home / "container").unlink()
    assert list(lines(runs)) == SET_UP


def test_a_machine_that_was_not_begun_with_has_said_nothing(runs: LaunchedVm) -> None:
    (runs.vm.home / "container").unlink()
    (runs.vm.home / ".gpu-machine/set_up.log").unlink()
    assert list(lines(runs)) == []


@pytest.mark.parametrize("tail", [None, 0])
def test_following_tells_each_line_once_and_ends_with_the_container(runs: LaunchedVm, tail: int | None) -> None:
    runs.vm.prints("one")
    runs.vm.answers("docker logs -f", 'echo two >> "$HOME/log"; echo exited 0 > "$HOME/container"')
    before = [*SET_UP, "one"] if tail is None else []
    assert list(lines(runs, follow=True, tail=tail)) == [*before, "two"]


def test_following_begins_with_a_set_up_that_goes_on(runs: LaunchedVm) -> None:
    (runs.vm.home / "container").unlink()
    coming = lines(runs, follow=True)
    assert [next(coming) for _ in SET_UP] == SET_UP
    with (runs.vm.home / ".gpu-machine/set_up.log").open("a") as log:
        log.write("[set-up] one more\n")
    assert next(coming) == "[set-up] one more"
    runs.vm.prints("one")
    runs.vm.has_container()
    assert next(coming) == "one"
    runs.vm.has_container("exited 0")
    assert list(coming) == []


def test_following_goes_on_after_a_connection_that_was_cut(runs: LaunchedVm) -> None:
    runs.vm.prints("one")
    coming = lines(runs, follow=True)
    assert [next(coming) for _ in range(3)] == [*SET_UP, "one"]
    runs.vm.prints("two")
    assert next(coming) == "two"
    runs.sshd.stop()
    runs.vm.prints("three")
    runs.vm.has_container("exited 0")
    threading.Timer(0.1, runs.sshd.start).start()
    assert list(coming) == ["three"]


def test_following_a_machine_that_stays_silent_ends_with_an_error(runs: LaunchedVm) -> None:
    coming = lines(runs, follow=True)
    assert next(coming) == SET_UP[0]
    runs.sshd.stop()
    with pytest.raises(ProviderUnavailable, match="does not tell its log: its SSH server does not answer yet"):
        list(coming)


def test_following_ends_when_nobody_wants_it_any_more(runs: LaunchedVm) -> None:
    over = threading.Event()
    coming = lines(runs, follow=True, stop=over.is_set)
    assert [next(coming) for _ in SET_UP] == SET_UP
    over.set()
    assert list(coming) == []


def test_following_ends_when_the_machine_is_forgotten(runs: LaunchedVm) -> None:
    (runs.vm.home / "container").unlink()
    coming = lines(runs, follow=True)
    assert [next(coming) for _ in SET_UP] == SET_UP
    runs.machines.forget(NAME)
    assert list(coming) == []


def test_following_waits_for_a_machine_that_boots(tmp_path: Path) -> None:
    launched = LaunchedVm(tmp_path)
    until = time.monotonic() + 0.3
    assert list(lines(launched, follow=True, stop=lambda: time.monotonic() > until)) == []


def test_a_machine_that_boots_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="does not answer yet"):
        list(lines(LaunchedVm(tmp_path)))


def test_a_machine_with_another_host_key_is_not_asked(runs: LaunchedVm) -> None:
    runs.machines.pin(NAME, make_key(runs.sshd.folder / "another"))
    with pytest.raises(ProviderUnavailable, match="another host key"):
        list(lines(runs))


def test_a_machine_of_which_nothing_is_known_is_not_found(runs: LaunchedVm) -> None:
    runs.machines.forget(NAME)
    with pytest.raises(NotFound):
        list(lines(runs))
