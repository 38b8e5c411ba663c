"""The processes of one container: all that descend from its main process, however they have detached themselves."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

MARKER = "GPU_EMULATOR_CONTAINER"
"""Environment variable of every process of a container: its folder. A process that left its session and lost its
parent is found by it.
"""
KEEP_MARKER_READABLE = {"SPT_NOENV": "1"}
"""Stops the library `setproctitle`, with which vLLM names its processes, from writing the title over the environment
that the system shows (seen with setproctitle 1.3.8 on Linux).
"""
KILL_DEADLINE_S = 10.0
POLL_S = 0.02


def start(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The main process, in a session of its own; its stdout and stderr are one pipe. Raises OSError."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environ, **KEEP_MARKER_READABLE, MARKER: str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def kill(main_pid: int, folder: Path) -> None:
    """Ends all of it, what is being started meanwhile included; returns when nothing is left."""
    give_up_at = time.monotonic() + KILL_DEADLINE_S
    while (left := list(members(main_pid, folder))) and time.monotonic() < give_up_at:
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                continue
        time.sleep(POLL_S)


def members(main_pid: int, folder: Path) -> Iterator[psutil.Process]:
    """Every living process of the container."""
    descendants = _descendants(main_pid)
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and (process in descendants or _is_marked(process, folder)):
                yield process
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's


def _descendants(main_pid: int) -> set[psutil.Process]:
    try:
        main = psutil.Process(main_pid)
        return {main, *main.children(recursive=True)} if main.ppid() == os.getpid() else set()
    except psutil.Error:
        return set()


def _is_marked(process: psutil.Process, folder: Path) -> bool:
    return process.environ().get(MARKER) == str(folder)
