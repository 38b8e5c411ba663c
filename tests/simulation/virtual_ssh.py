"""SSH to Lambda's machines without SSH: what the provider says to a machine, and what that answers."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from emulators.container_log import CONTAINER
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.docker_daemon import DockerContainer
from rebinding import Patch
from virtual_machines import VirtualMachine
from virtual_network import WAY_S
from virtual_threads import current

from gpu_providers.base import SshLogin
from gpu_providers.lambda_cloud import logs, on_machine, set_up, ssh
from gpu_providers.lambda_cloud.ssh import HostKeyChanged, KeyRefused, NotUp, Ran, expected_keys

LOGIN_WAYS = 6
"""How often a login goes there and back."""
LOOK_S = 2.0
NO_FILE = 2
CALLER = "198.51.100.7 50000 127.0.0.1 22\n"

clouds: list[LambdaEmulator] = []
"""Of the simulation that runs: one at most."""


@contextmanager
def connect(login: SshLogin, *, timeout_s: float) -> Iterator["Session"]:
    """As `gpu_providers.lambda_cloud.ssh.connect`."""
    _wait(WAY_S * LOGIN_WAYS)
    machine = machine_at(login.host)
    if machine is None or not machine.host_key:
        raise NotUp(ssh._NO_ANSWER)
    if machine.host_key not in expected_keys(login):
        raise HostKeyChanged(machine.host_key)
    if not machine.lets_in:
        raise KeyRefused(ssh._REFUSED, verified=True)
    yield Session(machine)


def machine_at(address: str) -> VirtualMachine | None:
    """The one that has this address now."""
    found = (one.machine for cloud in clouds for one in cloud.instances if one.machine.address == address)
    return next((one for one in found if isinstance(one, VirtualMachine)), None)


class Session:
    """As `gpu_providers.lambda_cloud.ssh.Session`."""

    def __init__(self, machine: VirtualMachine) -> None:
        self._machine = machine

    def run(self, command: str, stdin: bytes = b"") -> Ran:
        _wait(WAY_S)
        self._check()
        ran = self._ran(command, stdin.decode())
        _wait(WAY_S)
        self._check()
        return ran

    def lines(self, command: str, stop: Callable[[], bool]) -> Iterator[str]:
        """Only a container's log is followed."""
        following = _FOLLOW.fullmatch(command)
        assert following, command
        seen = int(following[1]) - 1
        made = self._container()
        while made and made.container and not stop():
            runs = made.status == "running"
            self._check()
            new = _printed(made)[seen:]
            seen += len(new)
            yield from new
            if not runs:
                return
            _wait(LOOK_S)

    def _check(self) -> None:
        if not self._machine.host_key:
            raise NotUp(ssh._LOST, verified=True)

    def _ran(self, command: str, stdin: str) -> Ran:
        if command in _PROGRAMS:
            return _PROGRAMS[command](self._machine, stdin)
        if command == logs._EXISTS:
            return Ran(0 if self._container() else 1, "", "")
        if command == set_up.CALLER:
            return Ran(0, CALLER, "")
        if found := _SET_UP.fullmatch(command):
            return _told(self._machine.set_up_log.getvalue().splitlines()[int(found[1]) - 1 :])
        if found := _PAST.fullmatch(command):
            made = self._container()
            numbered = [f"{number:6}\t{line}" for number, line in enumerate(_printed(made) if made else (), start=1)]
            return _told(numbered[-int(found[1]) :])
        ran = self._machine.executed(shlex.split(command), stdin)
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def _container(self) -> DockerContainer | None:
        return self._machine.docker.known(on_machine.CONTAINER)


def _received(machine: VirtualMachine, stdin: str) -> Ran:
    script = machine.folder.home / set_up.SCRIPT
    script.parent.mkdir(exist_ok=True)
    script.write_text(stdin)
    return Ran(0, "", "")


def _program(what: str) -> Callable[[VirtualMachine, str], Ran]:
    def run(machine: VirtualMachine, stdin: str) -> Ran:
        if not (machine.folder.home / set_up.SCRIPT).exists():
            return Ran(NO_FILE, "", f"python3: can't open file '{set_up.SCRIPT}': No such file or directory")
        return Ran(0, machine.program(what, stdin), "")

    return run


_PROGRAMS: Mapping[str, Callable[[VirtualMachine, str], Ran]] = {
    set_up.RECEIVE: _received,
    set_up.STATUS: _program("status"),
    set_up.START: _program("start"),
}


def _pattern(command: str, **numbers: str) -> "re.Pattern[str]":
    """That matches it, whatever the number in it."""
    (name,) = numbers
    return re.compile(re.escape(command.format(**{name: "NUMBER"})).replace("NUMBER", r"(\d+)"))


_SET_UP = _pattern(logs._SET_UP, first="")
_PAST = _pattern(logs._PAST, most="")
_FOLLOW = _pattern(logs._COMING, first="")


def _printed(made: DockerContainer) -> Sequence[str]:
    lines = made.container.log.lines() if made.container else ()
    return [line.line for line in lines if line.source == CONTAINER]


def _told(lines: Sequence[str]) -> Ran:
    return Ran(0, "".join(f"{line}\n" for line in lines), "")


def _wait(seconds: float) -> None:
    actor = current()
    assert actor
    actor.scheduler.sleep(seconds)


PATCHES: tuple[Patch, ...] = ((ssh, "connect", connect),)
