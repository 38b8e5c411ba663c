"""`gpu` as a process that has imported already what commands need: most of the time of one goes into that.

How Python starts `gpu`, and its guard, is shown by all that is started without waiting for it, and by what a terminal
shows.
"""

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
from pathlib import Path

POSSIBLE = sys.platform == "linux"
"""Elsewhere libraries of the system may not survive a fork, and no socket keeps messages apart."""
LARGEST_REQUEST_BYTES = 2**17
ROOM, MORE_ROOM = " " * 24, " " * 2**14
"""For the arguments that a guard shows, and for its environment."""


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
        (typed, keyboard), (stdout, to_stdout), (stderr, to_stderr) = [os.pipe() for _ in range(3)]
        theirs = (typed, to_stdout, to_stderr)
        os.write(keyboard, stdin.encode())
        os.close(keyboard)
        readable = (self.start(argv, cwd, env, theirs), stdout, stderr)
        _close(theirs)
        try:
            answer, *told = _read(readable, argv, timeout_s)
        finally:
            _close(readable)
        return told[0], told[1], int(answer.split()[1])

    def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], standard: Sequence[int]) -> int:
        """Where its process id and then, once it has ended, its exit status are to be read, parted by a blank.

        What it runs is decided by its arguments (`fork_server`); `standard` are its stdin, stdout and stderr.
        """
        request = json.dumps({"argv": [*argv], "cwd": str(cwd), "env": dict(env)}).encode()
        answer, theirs = os.pipe()
        stdin, *outputs = standard
        socket.send_fds(self._started(env), [request], [stdin, theirs, *outputs])
        os.close(theirs)
        return answer

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
    command = [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py")), str(requests), ROOM]
    quiet = subprocess.DEVNULL
    # It ends with this process. Nobody waits for it.
    subprocess.Popen(
        command, env={**env, "ROOM": MORE_ROOM}, pass_fds=[requests], stdin=quiet, stdout=quiet
    ).returncode = 0


def _read(ends: Sequence[int], argv: Sequence[str], timeout_s: float) -> list[str]:
    told = dict.fromkeys(ends, b"")
    give_up_at = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > give_up_at and (pid := told[ends[0]].split()):
                os.kill(int(pid[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout_s, told[ends[1]], told[ends[2]])
            for key, _ in selector.select(1.0):
                data = os.read(key.fd, 2**16)
                told[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return [each.decode() for each in told.values()]
