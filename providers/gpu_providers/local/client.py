"""The operating system: processes, ports and memory. Knows no offer and no resource."""

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# psutil costs start-up time that most commands need not pay, so each function that uses it imports it.

MARKER = "GPU_LOCAL_RESOURCE"
"""Environment variable of every process that we start: the absolute path of its resource's folder.

Children inherit it. So it also finds a process whose launcher was killed before it could write anything down, and an
engine whose parent is dead.
"""

_KEEP_MARKER_READABLE = {"SPT_NOENV": "1"}
"""Stops the library `setproctitle`, with which vLLM names its engine processes, from writing the title over the
environment that the system shows; without it the marker is gone (seen with setproctitle 1.3.8 on Linux)."""

_POLL_S = 0.02


@dataclass(frozen=True)
class Process:
    """One process for certain. A pid alone may by now belong to a stranger."""

    pid: int
    created_s: float
    """When it began, in seconds since the epoch."""


def start(command: Sequence[str], *, folder: Path, output: Path, env: Mapping[str, str]) -> Process:
    """Start `command` in `folder` under the marker, detached from this process and its terminal.

    What it prints is appended to `output`. Raises OSError or ValueError when it cannot be started.
    """
    import psutil

    with os.fdopen(os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as file:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**env, **_KEEP_MARKER_READABLE, MARKER: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    try:
        created_s = psutil.Process(child.pid).create_time()
    except psutil.Error:
        created_s = 0.0  # macOS does not tell it of a child that has already ended
    # A child that ends while this process lives on stays a zombie until somebody collects it.
    threading.Thread(target=child.wait, name=f"collect-{child.pid}", daemon=True).start()
    return Process(child.pid, created_s)


def is_alive(process: Process) -> bool:
    """Whether any of this very process still runs.

    A zombie does not, unless some thread of it does: until its last one has ended, it holds its ports and its memory.
    """
    import psutil

    try:
        now = psutil.Process(process.pid)
        has_ended = now.status() == psutil.STATUS_ZOMBIE and now.num_threads() <= 1
        return now.create_time() == process.created_s and not has_ended
    except psutil.Error:
        return False


def marked(root: Path) -> Mapping[Path, Sequence[Process]]:
    """Every living process that carries the marker of a folder directly in `root`, oldest first, by that folder.

    This process is left out: it may have been started by one of them.
    """
    import psutil

    found: dict[Path, list[Process]] = defaultdict(list)
    for process in psutil.process_iter():
        try:
            folder = process.environ().get(MARKER)
            if folder and Path(folder).parent == root and process.pid != os.getpid():
                found[Path(folder)].append(Process(process.pid, process.create_time()))
        except (psutil.Error, OSError):
            continue  # ended meanwhile, a zombie, or another user's
    return {folder: sorted(processes, key=lambda process: process.created_s) for folder, processes in found.items()}


def send(processes: Sequence[Process], number: signal.Signals) -> None:
    """Signal each of them that is still the same process; what may not be signalled is left to the caller's wait."""
    import psutil

    for process in processes:
        if is_alive(process):
            try:
                psutil.Process(process.pid).send_signal(number)
            except psutil.Error:
                continue


def wait_until(done: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `done()` came true within `timeout_s`; it is asked at least once."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def port_trouble(port: int) -> str:
    """Why nothing could listen on this TCP port of loopback now, in words for the user; empty when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: an old connection is no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return _in_use_by(port) if error.errno == errno.EADDRINUSE else str(error.strerror)
    with socket.socket() as caller:  # macOS lets one bind loopback beside a listener on all addresses
        return _in_use_by(port) if caller.connect_ex(("127.0.0.1", port)) == 0 else ""


def _in_use_by(port: int) -> str:
    """Names the process where the system tells: macOS tells only root."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"in use by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "in use"


def memory_gib() -> float:
    """Memory that processes here may use: the machine's, or less where a control group (a container) limits it."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such control group, or "max"
    return min(limits) / 2**30
