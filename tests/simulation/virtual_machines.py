"""Lambda's machines without processes: the real set-up in simulated time, on an emulated machine.

What the set-up calls is answered by the emulator's commands, so that Docker runs containers that only pretend.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, STDOUT, CompletedProcess, TimeoutExpired
from types import SimpleNamespace
from typing import Any

import emulators.lambda_cloud.docker_containers
import emulators.lambda_cloud.emulator
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from emulators.lambda_cloud.calls import ERR, OUT, Call, Output
from emulators.lambda_cloud.docker_containers import DockerContainer
from emulators.lambda_cloud.emulator import LambdaEmulator
from emulators.lambda_cloud.host_folder import UNAMES
from emulators.lambda_cloud.linux_machine import LinuxMachine
from emulators.lambda_cloud.nvidia import RUNTIMES
from rebinding import Patch
from scheduler import Process
from virtual_engine import Engine
from virtual_threads import current

from gpu_providers.lambda_cloud import on_machine
from gpu_providers.lambda_cloud.set_up import SCRIPT
from gpu_providers.lambda_cloud.ssh_keys import public_text

PYTHON = "python3"
_PROGRAM = compile(Path(on_machine.__file__).read_text(encoding="utf-8"), "on_machine.py", "exec")
_PORT = re.compile(r":(\d+)$")


class VirtualMachine(LinuxMachine):
    """One machine with its system. Whoever may log in talks to it by `virtual_ssh`."""

    def __init__(self, cloud: LambdaEmulator, *arguments: Any) -> None:
        super().__init__(cloud, *arguments)
        self.set_up_log = io.StringIO()
        self._set_up: Process | None = None

    # What is to be seen of it.

    @property
    def host_key(self) -> str:
        """The public one of its SSH server, once that answers; empty before."""
        return self._ssh.public if isinstance(self._ssh, _Door) and not self.stopping.is_set() else ""

    @property
    def lets_in(self) -> bool:
        return self._let_in

    @property
    def is_at_work(self) -> bool:
        return self._set_up is not None and self._set_up.alive

    def engine_at(self, url: str) -> Engine | None:
        """What listens at that URL of its loopback."""
        port = _PORT.search(url)
        return self._cloud.containers.at(int(port[1])) if port and not self.stopping.is_set() else None  # type: ignore[attr-defined]

    # Its life.

    def _system_started(self) -> Any:
        self.folder.home.mkdir(parents=True)
        self.folder.settings_file.parent.mkdir(parents=True)
        if not self._faults.without_gpus_in_docker:
            self.folder.settings_file.write_text(json.dumps({"runtimes": RUNTIMES}))
        self.docker.restart()
        return _Door(self._host_key())

    def stop(self) -> None:
        super().stop()
        if self._set_up:
            self._set_up.actors[0].scheduler.kill(self._set_up)

    def wait(self, seconds: float) -> None:
        actor = current()
        assert actor
        actor.scheduler.sleep(seconds)

    # What runs on it.

    def program(self, what: str, stdin: str = "", stdout: io.StringIO | None = None) -> str:
        """One run of `on_machine.py`: what it prints."""
        out = stdout or io.StringIO()
        names: dict[str, Any] = {"__name__": "on_machine", "__file__": str(self.folder.home / SCRIPT)}
        exec(_PROGRAM, names)
        names["sys"] = SimpleNamespace(stdin=io.StringIO(stdin), stdout=out, executable=PYTHON)
        names["subprocess"] = Programs(self)
        names["locked"] = lambda: None if self.is_at_work else _Lock()
        names["main"](what)
        return out.getvalue()

    def start_set_up(self) -> None:
        """Detached."""
        actor, host = current(), self._cloud.containers
        assert actor
        work: Callable[[], object] = lambda: self.program("run", stdout=self.set_up_log)  # noqa: E731
        self._set_up = actor.scheduler.spawn(f"set-up {self.address}", host.machine, work)  # type: ignore[attr-defined]

    def executed(self, argv: Sequence[str], stdin: str = "") -> "CompletedProcess[str]":
        """What a command does that somebody calls on it."""
        is_root = list(argv[:2]) == ["sudo", "-n"]
        name, *arguments = argv[2:] if is_root else argv
        environ = {"SUDO_UID": "1000"} if is_root else {}
        said = {OUT: "", ERR: ""}
        output = self._of_files(name, arguments, stdin) or self.run(name, Call(arguments, self.folder.home, environ))
        while True:
            try:
                where, text = next(output)
            except StopIteration as end:
                return CompletedProcess(list(argv), end.value, said[OUT], said[ERR])
            said[where] += text

    def _of_files(self, name: str, arguments: Sequence[str], stdin: str) -> Output | None:
        """Of the commands that the emulator leaves to real programs."""
        answers: dict[str, Callable[[], str]] = {
            "uname": lambda: f"{UNAMES[self.architecture]}\n",
            "mkdir": lambda: "",
            "cat": lambda: self.folder.host_path(arguments[0]).read_text(),
            "tee": lambda: stdin[: self.folder.host_path(arguments[0]).write_text(stdin)],
        }
        return _printed(answers[name]) if name in answers else None


def _printed(answer: Callable[[], str]) -> Output:
    try:
        yield OUT, answer()
    except FileNotFoundError:
        return 1
    return 0


class _Door:
    """Of a machine's SSH server: its host key."""

    was_used = False

    def __init__(self, host_key: str) -> None:
        self.public = public_text(load_ssh_private_key(host_key.encode(), None).public_key())  # type: ignore[arg-type]

    def let_in(self, _public_key: str) -> None:
        """Its machine knows."""

    def close(self) -> None:
        """There is nothing to close."""


class _Lock(io.StringIO):
    """Of the set-up, which nobody has: its process holds it by being there."""

    def fileno(self) -> int:
        return -1


class Programs:
    """What `on_machine.py` asks of `subprocess`, on its machine."""

    DEVNULL, PIPE, STDOUT = None, PIPE, STDOUT
    CompletedProcess, TimeoutExpired = CompletedProcess, TimeoutExpired

    def __init__(self, machine: VirtualMachine) -> None:
        self._machine = machine

    def run(self, argv: Sequence[str], **options: Any) -> "CompletedProcess[str]":
        return self._machine.executed(argv, options.get("input") or "")

    def Popen(self, argv: Sequence[str], **_: Any) -> "_Ended | None":  # noqa: N802 - as it is called there
        """The set-up itself, or a command whose output is read: that has ended."""
        if argv[0] == PYTHON:
            self._machine.start_set_up()
            return None
        return _Ended(self._machine.executed(argv))


class _Ended:
    """A process whose output is read line by line."""

    def __init__(self, ran: "CompletedProcess[str]") -> None:
        self.returncode = ran.returncode
        self.stdout = (ran.stdout + ran.stderr).splitlines(keepends=True)

    def __enter__(self) -> "_Ended":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _probed(machine: LinuxMachine, made: DockerContainer) -> Iterator[tuple[int, str]]:
    """What CUDA says in a container that is waited for: nothing else is run in such."""
    with machine.lock:
        machine.docker.check_start(made.options)
    yield OUT, f"{machine._faults.cu_init}\n"
    return 0


PATCHES: tuple[Patch, ...] = (
    (emulators.lambda_cloud.docker_containers, "_in_front", _probed),
    (emulators.lambda_cloud.emulator, "LinuxMachine", VirtualMachine),
)
