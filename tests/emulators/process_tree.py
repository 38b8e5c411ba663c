"""The processes of containers: all that descend from their main processes, however they have detached themselves.

Run as a program with a folder, it waits until its stdin ends, as it does when whoever started it is killed, and then
ends the processes of all containers in that folder and deletes it.
"""

import os
import shutil
import subprocess
import sys
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


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Lets no container of the folder outlive this process, however it ends. Closing the stdin ends the watch."""
    return subprocess.Popen(
        [sys.executable, "-P", __file__, str(folder)],
        env={},  # it is no container, and nothing of a test
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what is typed at the terminal is not for it
    )


def kill(folder: Path, main_pid: int | None = None) -> None:
    """Ends all in that folder, what is being started meanwhile included; returns when nothing is left."""
    give_up_at = time.monotonic() + KILL_DEADLINE_S
    while (left := list(members(folder, main_pid))) and time.monotonic() < give_up_at:
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                continue
        time.sleep(POLL_S)


def members(folder: Path, main_pid: int | None = None) -> Iterator[psutil.Process]:
    """Every living process of the container with that folder and main process, or of all below the folder: those with
    the marker, and all that descend from them (some write their title over the environment that the system shows).
    """
    living, parents, roots = [], {}, {main_pid} if main_pid and _is_ours(main_pid) else set()
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                parents[process.pid] = process.ppid()
                if process.status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
            if _is_marked(process, folder):
                roots.add(process.pid)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    return (process for process in living if roots.intersection(_lineage(process.pid, parents)))


def _is_ours(pid: int) -> bool:
    """Whether it is a child of this process: pids come again."""
    try:
        return psutil.Process(pid).ppid() == os.getpid()
    except psutil.Error:
        return False


def _lineage(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    """Itself, its parent and so on."""
    while pid:
        yield pid
        pid = parents.get(pid, 0)


def _is_marked(process: psutil.Process, folder: Path) -> bool:
    return Path(process.environ().get(MARKER, "/")).is_relative_to(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    kill(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
