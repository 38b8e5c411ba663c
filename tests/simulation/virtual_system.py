"""What a program asks of its system, for the actors of a simulation: time, its own process and others, its output.

For all other threads everything stays what it is.
"""

import datetime as datetimes
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import virtual_threads
from rebinding import Patch
from scheduler import Process
from virtual_threads import current

_real = {name: getattr(time, name) for name in ("time", "monotonic", "sleep", "clock_gettime")}
_real_getpid, _real_signal, _real_popen = os.getpid, signal.signal, subprocess.Popen
_real_pid_exists, _real_psutil = psutil.pid_exists, psutil.Process
_real_hex, _real_urlsafe, _real_bytes = secrets.token_hex, secrets.token_urlsafe, secrets.token_bytes
_real_datetime = datetimes.datetime

Spawn = Callable[[Sequence[str]], Process]
"""Starts what a `Popen` wants. Raises FileNotFoundError."""

spawn: Spawn | None = None


# --- time


def _time() -> float:
    actor = current()
    return actor.scheduler.now if actor else _real["time"]()


def _monotonic() -> float:
    actor = current()
    return actor.scheduler.now - actor.process.machine.slept_s if actor else _real["monotonic"]()


def _gettime(clock: int) -> float:
    actor = current()
    return actor.scheduler.now if actor else _real["clock_gettime"](clock)


def _sleep(seconds: float) -> None:
    if actor := current():
        actor.scheduler.sleep(seconds)
    else:
        _real["sleep"](seconds)


class _DatetimeType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)


class Datetime(_real_datetime, metaclass=_DatetimeType):
    """`datetime` by the clock of the simulation."""

    @classmethod
    def now(cls, tz: datetimes.tzinfo | None = None) -> datetimes.datetime:
        actor = current()
        return _real_datetime.fromtimestamp(actor.scheduler.now, tz) if actor else _real_datetime.now(tz)


# --- this process and others


def _getpid() -> int:
    actor = current()
    return actor.process.pid if actor else _real_getpid()


def _signal(number: int, handler: Any) -> Any:
    actor = current()
    if actor is None:
        return _real_signal(number, handler)
    before = actor.process.signal_handlers.get(number, signal.SIG_DFL)
    actor.process.signal_handlers[number] = handler
    return before


def send_signal(process: Process, number: int) -> None:
    """As `kill` does it: what has no handler ends by it, but for SIGINT, which Python turns into an exception."""
    scheduler = process.actors[0].scheduler
    handler = process.signal_handlers.get(number, signal.SIG_DFL)
    if not process.alive or handler is signal.SIG_IGN:
        return
    if handler is signal.SIG_DFL and number != signal.SIGINT:
        scheduler.kill(process)
        return

    def handle() -> object:
        if callable(handler):
            return handler(number, None)
        raise KeyboardInterrupt

    process.actors[0].signals.append(handle)
    scheduler.wake(process.actors[0])


def _found(pid: int) -> Process | None:
    assert virtual_threads.active
    return next((one for one in virtual_threads.active.processes if one.pid == pid and one.alive), None)


def _pid_exists(pid: int) -> bool:
    return _found(pid) is not None if current() else _real_pid_exists(pid)


class Psutil:
    """What is asked of `psutil.Process`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def environ(self) -> dict[str, str]:
        return dict(os.environ)

    def cmdline(self) -> list[str]:
        return list(self._process.arguments)

    def terminate(self) -> None:
        send_signal(self._process, signal.SIGTERM)


def _psutil(pid: int) -> Any:
    if not current():
        return _real_psutil(pid)
    found = _found(pid)
    if found is None:
        raise psutil.NoSuchProcess(pid)
    return Psutil(found)


class Popen:
    """A process that the simulation started."""

    def __init__(self, arguments: Sequence[str]) -> None:
        assert spawn
        self._process = spawn([str(word) for word in arguments])
        self.pid = self._process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if not self._process.alive:
            self.returncode = -9 if self._process.exit is None else self._process.exit
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        began, actor = _monotonic(), current()
        assert actor
        while (status := self.poll()) is None:
            if timeout is not None and _monotonic() - began >= timeout:
                raise subprocess.TimeoutExpired(self._process.arguments, timeout)
            actor.scheduler.sleep(0.1)
        return status

    def terminate(self) -> None:
        send_signal(self._process, signal.SIGTERM)

    def kill(self) -> None:
        self._process.actors[0].scheduler.kill(self._process)


def _popen(arguments: Any, *more: Any, **options: Any) -> Any:
    return Popen(arguments) if current() else _real_popen(arguments, *more, **options)


# --- what is random, and what is said


def _random() -> random.Random:
    actor = current()
    assert actor
    return actor.scheduler.random


def _hex(count: int | None = None) -> str:
    return _random().randbytes(count or 32).hex() if current() else _real_hex(count)


def _urlsafe(count: int | None = None) -> str:
    return _random().randbytes(count or 32).hex() if current() else _real_urlsafe(count)


def _bytes(count: int | None = None) -> bytes:
    return _random().randbytes(count or 32) if current() else _real_bytes(count)


class Output:
    """A standard stream: of an actor, its process's own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._real = getattr(sys, name)

    def _stream(self) -> Any:
        actor = current()
        return getattr(actor.process, self._name) if actor else self._real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


ONLY_OURS = ((_real_datetime, Datetime),)
"""Libraries written in other languages want their own."""


def patches() -> list[Patch]:
    """All of these."""
    return [
        (time, "time", _time),
        (time, "monotonic", _monotonic),
        (time, "clock_gettime", _gettime),
        (time, "sleep", _sleep),
        (os, "getpid", _getpid),
        (signal, "signal", _signal),
        (subprocess, "Popen", _popen),
        (psutil, "pid_exists", _pid_exists),
        (psutil, "Process", _psutil),
        (secrets, "token_hex", _hex),
        (secrets, "token_urlsafe", _urlsafe),
        (secrets, "token_bytes", _bytes),
        (sys, "stdout", Output("stdout")),
        (sys, "stderr", Output("stderr")),
    ]
