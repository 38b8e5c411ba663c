"""`gpu` and its guard as processes of one account, each forked from a process that has imported everything.

Hundreds of them are killed, and importing would be most of what they cost. What is forked is the program as it is: its
`main`, with its arguments, its environment and its files; guards are started by whoever would start them.
"""

import functools
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from driver import FORKED

GUARD = "gpu_cli.fleet.guard"
TURN_S = 0.2
"""Guards here look ten times as often as they do, so that nobody has to wait for one."""
PLANT = "GPU_TEST_PLANT"
"""The variable that names a bug of `kill_plants`, for who is to have it."""
LARGEST_ORDER_BYTES = 2**17
PATIENCE_S = 60.0
RUNNING = "running"
"""The folder, below the one where the server runs, with a file for each process that runs: its name is the pid."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; by a signal, `exit` is its number below zero."""

    exit: int
    stdout: str
    stderr: str


class Forked:
    """A process that runs, or ran. What it prints has to fit into pipes: nobody reads before it has ended."""

    def __init__(self, answer: int, outputs: Sequence[int] = ()) -> None:
        self._answer, self._outputs = answer, outputs
        self.pid = int(_word(answer))
        self.returncode: int | None = None

    def result(self) -> Ended:
        """Once it has ended. Call it once."""
        status = int(_word(self._answer))
        os.close(self._answer)
        return Ended(status, *[_all_of(end) for end in self._outputs])

    def let_go(self) -> None:
        """Its end is not waited for."""
        os.close(self._answer)

    def poll(self) -> int | None:
        """As of `subprocess.Popen`, which it stands for where a command starts its guard."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answer, selectors.EVENT_READ)
            if self.returncode is None and selector.select(0):
                self.returncode = int(_word(self._answer))
        return self.returncode


class KillServer:
    """Starts commands, all in one environment and folder; a context manager, which leaves none of them."""

    def __init__(self, environ: Mapping[str, str], cwd: Path) -> None:
        self._environ = environ
        self._cwd = cwd

    def __enter__(self) -> "KillServer":
        (self._cwd / RUNNING).mkdir(exist_ok=True)
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open("w") as nothing:
            standard = (theirs.fileno(), nothing.fileno(), 2)
            self._ended = FORKED.start([sys.executable, __file__], self._cwd, self._environ, standard)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        self._orders.close()
        _all_of(self._ended)

    def start(self, *arguments: str, env: Mapping[str, str] = {}) -> Forked:
        """`gpu` with these arguments; `env` is what its environment has besides."""
        (stdout, theirs), (stderr, also_theirs) = os.pipe(), os.pipe()
        return Forked(order(self._orders, ["gpu", *arguments], env, [theirs, also_theirs]), [stdout, stderr])

    def running(self) -> list[int]:
        """The pids of all that runs, guards included."""
        return [int(file.name) for file in (self._cwd / RUNNING).iterdir()]

    def kill(self, *pids: int) -> None:
        """With SIGKILL; comes back when they have ended."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        give_up_at = time.monotonic() + PATIENCE_S
        while any((self._cwd / RUNNING / str(pid)).exists() for pid in pids):
            assert time.monotonic() < give_up_at, "what was killed does not end"
            time.sleep(0.002)

    def kill_all(self) -> None:
        """All that runs."""
        self.kill(*self.running())

    def start_guard(self, log: Path) -> Forked:
        """As a command would. Nobody need wait for its end."""
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        guard = Forked(order(self._orders, [GUARD], {}, [output, os.dup(output)]))
        guard.let_go()
        return guard


def order(orders: socket.socket, argv: Sequence[str], env: Mapping[str, str], outputs: Sequence[int]) -> int:
    """Where the process's id and, once it has ended, its exit status are to be read. Closes `outputs`."""
    answer, theirs = os.pipe()
    socket.send_fds(orders, [json.dumps({"argv": argv, "env": dict(env)}).encode()], [theirs, *outputs])
    for end in (theirs, *outputs):
        os.close(end)
    return answer


def _word(end: int) -> str:
    word = b""
    while (read := os.read(end, 1)) not in (b"", b" "):
        word += read
    return word.decode()


def _all_of(end: int) -> str:
    with os.fdopen(end, errors="replace") as output:
        return output.read()


# The program: what follows runs in the server and in what it forks.


def serve(orders: socket.socket, guards: socket.socket) -> tuple[Sequence[str], Mapping[str, str]]:
    """What to be and with which variables, in a process of its own for each order."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what waits for the commands
    selector = selectors.DefaultSelector()
    for source in (orders, guards):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            request, ends, _, _ = socket.recv_fds(key.fileobj, LARGEST_ORDER_BYTES, 3)  # type: ignore[arg-type]
            if not request:
                _end_all()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                selector.close()
                orders.close()
                guards.close()
                told = json.loads(request)
                _become(*ends)
                return told["argv"], told["env"]
            for end in ends:
                os.close(end)


def _end_all() -> NoReturn:
    """Who gave orders has ended, be it killed: nothing outlives it."""
    for file in Path(RUNNING).iterdir():
        with suppress(ProcessLookupError):
            os.kill(int(file.name), signal.SIGKILL)
    os._exit(0)


def _become(answer: int, stdout: int, stderr: int) -> None:
    """Of two processes that are left, the one that is to run; the other one tells how it ends."""
    if command := os.fork():
        os.close(stdout)
        os.close(stderr)
        _tell(answer, command)
    os.close(answer)
    os.setsid()
    for number, end in ((1, stdout), (2, stderr)):
        os.dup2(end, number)
        os.close(end)


def _tell(answer: int, command: int) -> NoReturn:
    file = Path(RUNNING, str(command))
    file.touch()
    with suppress(BrokenPipeError):  # nobody reads it any more
        os.write(answer, f"{command} ".encode())
    _, status = os.waitpid(command, 0)
    file.unlink()
    with suppress(BrokenPipeError):
        os.write(answer, f"{os.waitstatus_to_exitcode(status)} ".encode())
    os._exit(0)


def _popen(orders: socket.socket, started: Any, argv: Any, *more: Any, **options: Any) -> Any:
    """`subprocess.Popen`, but for guards, which come from the server as well."""
    if list(argv)[1:] != ["-m", GUARD]:
        return started(argv, *more, **options)
    output = options["stdout"].fileno()
    return Forked(order(orders, [GUARD], options["env"], [os.dup(output), os.dup(output)]))


def main() -> None:
    """What `KillServer` runs, from a process that has imported everything: with orders as its stdin."""
    import fork_server
    import kill_plants

    orders = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    of_guards, guards = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv, env = serve(orders, guards)
    os.environ.update(env)
    kill_plants.plant(os.environ.get(PLANT, ""))
    sys.argv = [*argv]
    if argv == [GUARD]:
        os.chdir("/")
        guard = importlib.import_module(f"{GUARD}.run")
        guard.TURN_S = TURN_S
        fork_server.run_to_its_end(guard.main)
    else:
        subprocess.Popen = functools.partial(_popen, of_guards, subprocess.Popen)  # type: ignore[assignment,misc]
        fork_server.run_to_its_end(importlib.import_module("gpu_cli.app").main)
