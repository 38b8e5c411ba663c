"""Forks for each command that it is sent, and for each guard that such a command starts: `forked` runs it.

What is forked is the program as it is: its `main`, with its arguments, its environment and its files. A module of the
tests with a `main` may be asked for as well, by its path.
"""

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    "cryptography.x509",
    "encodings.idna",
    "gpu_cli.app",
    "gpu_cli.commands.documents",
    "gpu_cli.commands.plan_report",
    "gpu_cli.commands.stories",
    "gpu_cli.commands.tried_report",
    "gpu_cli.fleet.certificates",
    "gpu_cli.fleet.checkup",
    "gpu_cli.fleet.end.collect",
    "gpu_cli.fleet.market.fitting",
    "gpu_cli.fleet.market.planning",
    "gpu_cli.fleet.end.teardown",
    "gpu_cli.fleet.guard.run",
    "gpu_cli.fleet.launch.up",
    "gpu_cli.recipe.problems",
    "gpu_cli.ui.stages",
    "gpu_providers.lambda_cloud.provider",
    "gpu_providers.local.provider",
    "gpu_providers.modal_cloud.provider",
    "gpu_providers.runpod.provider",
    "gpu_providers.vast.provider",
    "httpcore",
    "httpx",
    "psutil",
)
OF_CLOUDS = {"LAMBDA_API_KEY": "paramiko", "MODAL_TOKEN_ID": "modal"}
"""What takes long to import and is for one cloud only, by the variable of who uses that."""
GUARD = "gpu_cli.fleet.guard"
LARGEST_REQUEST_BYTES = 2**17


def _close(ends: Iterable[int]) -> None:
    for end in ends:
        os.close(end)


class Guard:
    """What a command gets to know of the guard that it has started: as much as of a `subprocess.Popen`."""

    def __init__(self, answer: int) -> None:
        self._answer = answer
        self._told = b""

    def poll(self) -> int | None:
        """Its exit status, once it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answer, selectors.EVENT_READ)
            while selector.select(0) and (data := os.read(self._answer, 2**10)):
                self._told += data
        _, *status = self._told.split() or [b""]
        return int(status[0]) if status else None


def serve(requests: socket.socket) -> None:
    """Does not return in the server itself, but in a process for each command and each guard, once it was that."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what waits for the others
    of_commands, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    selector = selectors.DefaultSelector()
    for source in (requests, orders):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            request, ends, _, _ = socket.recv_fds(key.fileobj, LARGEST_REQUEST_BYTES, 4)  # type: ignore[arg-type]
            if not request:
                os._exit(0)
            told = json.loads(request)
            _import({OF_CLOUDS[name] for name in OF_CLOUDS.keys() & told["env"].keys()})
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for inherited in (selector, requests, orders):
                    inherited.close()
                return _run(told, ends, of_commands)
            _close(ends)


def _import(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)
    gc.freeze()


def _run(request: Mapping[str, Any], ends: Sequence[int], orders: socket.socket) -> None:
    argv = request["argv"]
    _become(request, *ends)
    if argv[1:] == ["-m", GUARD]:
        orders.close()
        os.setsid()
        _show(argv, request["env"])
        run_to_its_end(importlib.import_module(f"{GUARD}.run").main)
    elif argv[0] == sys.executable:
        orders.close()
        _show(argv, request["env"])
        sys.path[:0] = [str(Path(file).parent) for file in (argv[1], __file__)]
        importlib.import_module(Path(argv[1]).stem).main()
    else:
        subprocess.Popen = functools.partial(_popen, orders, subprocess.Popen)  # type: ignore[assignment,misc]
        run_to_its_end(importlib.import_module("gpu_cli.app").main)


def _become(request: Mapping[str, Any], stdin: int, answer: int, stdout: int, stderr: int) -> None:
    standard = (stdin, stdout, stderr)
    if command := os.fork():
        _tell(answer, command, standard)
    os.close(answer)
    for number, end in enumerate(standard):
        os.dup2(end, number)
        os.close(end)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]


def _tell(answer: int, command: int, standard: Sequence[int]) -> NoReturn:
    """The process id and, when it has ended, how; unless nobody waits for that any longer."""
    _close(standard)
    with suppress(BrokenPipeError):
        os.write(answer, f"{command} ".encode())
    _, status = os.waitpid(command, 0)
    with suppress(BrokenPipeError):
        os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _warm_up() -> None:
    """What takes long and is the same for all."""
    importlib.import_module("gpu_cli.fleet.node.node").packed_node()
    for module, name in (("importlib.metadata", "entry_points"), ("typer.main", "get_command")):
        found = importlib.import_module(module)
        setattr(found, name, functools.cache(getattr(found, name)))
    importlib.import_module("gpu_providers.registry").available()
    sys.modules["typer.main"].get_command(importlib.import_module("gpu_cli.app").app)


def _popen(orders: socket.socket, started: Any, argv: Any, *more: Any, **options: Any) -> Any:
    """`subprocess.Popen`, but for guards."""
    if [*argv][1:] != ["-m", GUARD]:
        return started(argv, *more, **options)
    answer, theirs = os.pipe()
    output = options["stdout"].fileno()
    request = {"argv": argv, "cwd": options["cwd"], "env": options["env"]}
    with Path(os.devnull).open() as quiet:
        socket.send_fds(orders, [json.dumps(request).encode()], [quiet.fileno(), theirs, output, output])
    os.close(theirs)
    return Guard(answer)


def _show(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """In `/proc`, where others look for guards and at what they can reach."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    of_arguments, to_arguments, of_environment, to_environment = map(int, fields[45:49])
    _write(of_arguments, to_arguments, argv)
    _write(of_environment, to_environment, [f"{name}={value}" for name, value in env.items()])


def _write(begin: int, end: int, words: Sequence[str]) -> None:
    told = b"".join(word.encode() + b"\0" for word in words)
    assert len(told) <= end - begin
    ctypes.memmove(begin, told.ljust(end - begin, b"\0"), end - begin)


_status = 1
"""Unless told otherwise: that of a program that an exception has ended."""


def leave_quickly() -> None:
    """Once the program has ended, without taking apart all that is imported: Python does so object by object, which
    takes longer than most commands. What a program can notice comes before: threads are waited for, and what is
    registered with `atexit` is called. This has to be registered first, to be called last.
    """
    atexit.register(_leave)


def run_to_its_end(main: Callable[[], object]) -> None:
    """A program's `main`, as the last thing that its process does."""
    global _status
    try:
        main()
        _status = 0
    except SystemExit as end:
        _status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)


if __name__ == "__main__":
    sys.modules["fork_server"] = sys.modules["__main__"]  # for modules of the tests
    leave_quickly()
    _import(IMPORTED)
    _warm_up()
    serve(socket.socket(fileno=int(sys.argv[1])))
