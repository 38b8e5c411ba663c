"""Drives the real `gpu` program as a process, and knows which processes of this machine it has left."""

import fcntl
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import psutil

GPU = (str(Path(sys.executable).with_name("gpu")),)
COMMAND = GPU
"""What users run. (`python -m gpu_cli` may end by the signal itself where Python was interrupted within an `exec`.)"""
FORKED = forked.ForkServer()
PATIENCE_S = 60.0
"""How long anything may take on a busy machine before a test gives up on it."""
ORDERLY_END_S = 20.0


@dataclass(frozen=True)
class Ran:
    """One run of `gpu` that has ended."""

    stdout: str
    stderr: str
    exit: int

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when there is anything else."""
        return json.loads(self.stdout)

    @property
    def error(self) -> Any:
        """The error in that document."""
        return self.json["error"]


class Running:
    """A run of `gpu` that has not been waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def signal(self, number: signal.Signals) -> None:
        """To this process alone."""
        self.process.send_signal(number)

    def result(self) -> Ran:
        """When it has ended."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        return Ran(stdout, stderr, self.process.returncode)


class Gpu:
    """`gpu("up", "tiny")` runs it to its end; `gpu.start(...)` does not wait. One home, one environment."""

    def __init__(self, home: Path, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, stdin: str = "", env: Mapping[str, str] = {}) -> Ran:
        command, environ = [*COMMAND, *arguments], {**os.environ, **env}
        if forked.POSSIBLE and COMMAND == GPU and "PYTHONPATH" not in environ:  # with one it would import otherwise
            return Ran(*FORKED.run(command, stdin, self.cwd, environ, PATIENCE_S))
        ran = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=environ,
            timeout=PATIENCE_S,
        )
        return Ran(ran.stdout, ran.stderr, ran.returncode)

    def on_a_terminal(self, *arguments: str, columns: int = 80, typed: str = "") -> str:
        """What a run with a terminal as stdin, stdout and stderr shows; `typed` is typed before it asks."""
        controller, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        os.write(controller, typed.encode())
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.cwd, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(controller, 4096):
                shown += data
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(controller)
        process.wait(PATIENCE_S)
        return shown.decode().replace("\r\n", "\n")

    def start(self, *arguments: str, env: Mapping[str, str] = {}) -> Running:
        """In the background."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.cwd,
            env={**os.environ, **env},
        )
        self._started.append(process)
        return Running(process)

    def ls(self) -> list[dict[str, Any]]:
        """What `gpu ls` tells of every deployment, the living ones first."""
        ran = self("ls", "--json")
        assert ran.exit == 0, ran.stderr
        deployments: list[dict[str, Any]] = ran.json["deployments"]
        return deployments

    def state_of(self, name: str) -> str:
        """As `gpu ls` tells it now."""
        return next((str(one["state"]) for one in self.ls() if one["name"] == name), "unknown")

    def processes(self, part: str = "") -> list[psutil.Process]:
        """All that were started from this home and still run, this test's own children included.

        With `part`, those that have it in their command line: `gpu_cli.fleet.guard`, `supervisor.py`, `api_server`.
        """
        return [process for process in psutil.process_iter() if self._is_ours(process) and part in command_of(process)]

    def guard(self) -> psutil.Process | None:
        """The guard of this home."""
        return next(iter(self.processes("gpu_cli.fleet.guard")), None)

    def kill_guard(self) -> None:
        """With SIGKILL; there must be one."""
        guard = self.guard()
        assert guard, "there is no guard"
        guard.kill()
        wait_until(lambda: not is_alive(guard))

    def engine(self) -> psutil.Process:
        """The one engine; fails when there are none or several."""
        (process,) = self.engines()
        return process

    def engines(self) -> list[psutil.Process]:
        """The engines themselves: the supervisor has the engine's command in its environment, not in its own."""
        return self.processes("vllm.entrypoints")

    def supervisor(self) -> psutil.Process:
        """The one supervisor; fails when there are none or several."""
        (process,) = self.processes("supervisor.py")
        return process

    def close(self) -> list[str]:
        """End everything; what ran and no record knew of is told: `gpu down --all` would not have ended it."""
        for started in self._started:
            started.kill()
            started.communicate()
        on_record, running = self._on_record(), self.processes()
        guard = next((process for process in running if "gpu_cli.fleet.guard" in command_of(process)), None)
        tunnels = tunnels_of(guard) if guard else []
        unknown = [
            process for process in running if process not in (guard, *tunnels) and resource_of(process) not in on_record
        ]
        told = [f"{process.pid} {command_of(process)}" for process in unknown]
        for process in running:
            if process == guard or "supervisor.py" in command_of(process):
                with suppress(psutil.NoSuchProcess):  # it may have ended by itself at this very moment
                    process.terminate()
        give_up_at = time.monotonic() + ORDERLY_END_S
        while (left := [process for process in running if is_alive(process)]) and time.monotonic() < give_up_at:
            time.sleep(0.02)
        told += [f"{process.pid} {command_of(process)}" for process in left if process in tunnels]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return told

    def _on_record(self) -> set[str]:
        """The resources that the record says are alive; none when there is no record that can be read."""
        query = "SELECT resource_name FROM deployments WHERE state NOT IN ('gone', 'failed')"
        path = self.home / "state" / "gpu.db"
        if not path.is_file():
            return set()
        try:
            with closing(sqlite3.connect(path)) as connection:
                return {name for (name,) in connection.execute(query)}
        except sqlite3.DatabaseError:
            return set()

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("GPU_HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False


def is_alive(process: psutil.Process) -> bool:
    """Whether any of it runs; what has ended and waits to be collected by its parent does not.

    One that was killed shows as ended when its main thread is; its ports and locks are held until the last one is.
    """
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.Error:
        return False


def tunnels_of(guard: psutil.Process) -> list[psutil.Process]:
    """What it holds to the machines of deployments, and is to end with it; none when it has just ended."""
    try:
        return [process for process in guard.children() if process.name() == "ssh"]
    except psutil.Error:
        return []


def resource_of(process: psutil.Process) -> str:
    """The resource that it belongs to; empty for a process that belongs to none, or has just ended."""
    try:
        return Path(process.environ().get("GPU_LOCAL_RESOURCE", "")).name
    except (psutil.Error, OSError):
        return ""


def command_of(process: psutil.Process) -> str:
    """Its command line; empty when it has just ended."""
    try:
        return " ".join(process.cmdline()).rstrip()
    except psutil.Error:
        return ""


def wait_until(done: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Fails when it does not come true in time. To look takes half of the machine's time at most."""
    began = looked = time.monotonic()
    while not done():
        seen = time.monotonic()
        assert seen - began < timeout_s, f"did not happen within {timeout_s:g} s"
        time.sleep(max(0.05, seen - looked))
        looked = time.monotonic()
