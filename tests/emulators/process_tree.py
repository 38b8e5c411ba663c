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
    """Every living process of the container with that folder and main process, or of all below the folder."""
    descendants = _descendants(main_pid) if main_pid else ()
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
    return Path(process.environ().get(MARKER, "/")).is_relative_to(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    kill(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
