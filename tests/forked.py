"""`gpu` as a process that has imported already what commands need: most of the time of one goes into that.

Run as a program with a socket as its argument, this forks for each command that it is sent. How Python starts `gpu`
is shown by all that is started without waiting for it, and by what a terminal shows.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    "gpu_cli.app",
    "gpu_cli.fleet.checkup",
    "gpu_cli.fleet.end.collect",
    "gpu_cli.fleet.market.fitting",
    "gpu_cli.fleet.market.planning",
    "gpu_cli.fleet.end.teardown",
    "gpu_cli.fleet.launch.up",
    "gpu_providers.lambda_cloud.provider",
    "gpu_providers.local.provider",
    "gpu_providers.modal_cloud.provider",
    "gpu_providers.runpod.provider",
    "gpu_providers.vast.provider",
    "httpx",
    "psutil",
)
POSSIBLE = sys.platform == "linux"
"""Elsewhere libraries of the system may not survive a fork, and no socket keeps messages apart."""
LARGEST_REQUEST_BYTES = 2**17


class ForkServer:
    """Starts with the first command."""

    def __init__(self) -> None:
        self._requests: socket.socket | None = None
        self._starting = threading.Lock()

    def run(
        self, argv: Sequence[str], stdin: str, cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> tuple[str, str, int]:
        """Its stdout, its stderr and its exit status, once it has ended and nothing holds those two open any more.

        `stdin` has to fit into a pipe. Raises `subprocess.TimeoutExpired`, having killed it.
        """
        request = json.dumps({"argv": [*argv], "cwd": str(cwd), "env": dict(env)}).encode()
        (typed, keyboard), *outputs = [os.pipe() for _ in range(4)]
        readable = [reading for reading, _ in outputs]
        theirs = [typed, *(writing for _, writing in outputs)]
        os.write(keyboard, stdin.encode())
        os.close(keyboard)
        try:
            socket.send_fds(self._started(env), [request], theirs)
            _close(theirs)
            answer, stdout, stderr = _read(readable, argv, timeout_s)
        finally:
            _close(readable)
        return stdout, stderr, int(answer.split()[1])

    def _started(self, env: Mapping[str, str]) -> socket.socket:
        with self._starting:
            if self._requests is None:
                self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    _start(theirs.fileno(), {name: value for name, value in env.items() if name[:4] != "GPU_"})
            return self._requests


def _close(ends: Iterable[int]) -> None:
    for end in ends:
        os.close(end)


def _start(requests: int, env: Mapping[str, str]) -> None:
    command = [sys.executable, "-P", __file__, str(requests)]
    quiet = subprocess.DEVNULL
    # It ends with this process. Nobody waits for it.
    subprocess.Popen(command, env=env, pass_fds=[requests], stdin=quiet, stdout=quiet).returncode = 0


def _read(ends: Sequence[int], argv: Sequence[str], timeout_s: float) -> list[str]:
    told = dict.fromkeys(ends, b"")
    give_up_at = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > give_up_at:
                os.kill(int(told[ends[0]].split()[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout_s, told[ends[1]], told[ends[2]])
            for key, _ in selector.select(1.0):
                data = os.read(key.fd, 2**16)
                told[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return [each.decode() for each in told.values()]


def serve(requests: socket.socket) -> None:
    """Returns in a process of its own for each command, which is then to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what waits for the commands
    while True:
        request, ends, _, _ = socket.recv_fds(requests, LARGEST_REQUEST_BYTES, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            return _become(json.loads(request), *ends)
        _close(ends)


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
    """The command's process id and, when it has ended, how."""
    _close(standard)
    os.write(answer, f"{command} ".encode())
    _, status = os.waitpid(command, 0)
    with suppress(BrokenPipeError):  # nobody waits any longer for what was killed for taking too long
        os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    importlib.import_module("gpu_cli.app").main()
