"""`threading` and what is built on it, for the actors of a simulation; for all other threads it stays what it is.

Whatever waits in Python waits for a lock in the end (conditions, events, queues, futures), so that it is enough to have
locks for which waiting is handing over to the next actor.
"""

import concurrent.futures.thread
import math
import queue
import threading
from functools import partial
from types import GenericAlias
from typing import Any

from rebinding import Patch
from scheduler import Actor, Scheduler

_real_lock = threading.Lock
_real_rlock = threading.RLock
_real_start = threading.Thread.start
_real_join = threading.Thread.join
_real_is_alive = threading.Thread.is_alive
_real_main_thread = threading.main_thread
_real_queue = queue.SimpleQueue
_real_pool = concurrent.futures.thread.ThreadPoolExecutor.__init__

active: Scheduler | None = None
"""The simulation that runs, of which there is one at most."""


def current() -> Actor | None:
    """Whose thread this is; None for one that is of no simulation."""
    return active.current() if active else None


class Lock:
    """A lock that any thread may use; an actor that has to wait for it lets others go on."""

    def __init__(self) -> None:
        self._lock = _real_lock()
        self._waiting: list[Actor] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._lock.acquire(False):
            return True
        actor = current()
        if not blocking or actor is None:
            return self._lock.acquire(blocking, timeout)
        return self._await(actor, math.inf if timeout < 0 else actor.scheduler.now + timeout)

    def _await(self, actor: Actor, until: float) -> bool:
        self._waiting.append(actor)
        try:
            while not self._lock.acquire(False):
                if actor.scheduler.now >= until:
                    return False
                actor.scheduler.wait(until)
            return True
        finally:
            self._waiting.remove(actor)

    def release(self) -> None:
        self._lock.release()
        for actor in self._waiting:
            actor.scheduler.wake(actor)

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock() -> Any:
    return Lock() if current() else _real_lock()


def _rlock() -> Any:
    return threading._PyRLock() if current() else _real_rlock()  # type: ignore[attr-defined]


class SimpleQueue:
    """Of the kind that whoever makes it needs."""

    def __new__(cls) -> Any:
        return queue._PySimpleQueue() if current() else _real_queue()  # type: ignore[attr-defined]

    __class_getitem__ = classmethod(GenericAlias)


def _start(thread: threading.Thread) -> None:
    actor = current()
    if actor is None:
        _real_start(thread)
        return
    assert active
    thread._simulated = active.thread(actor.process, partial(_run, thread))  # type: ignore[attr-defined]
    thread._started.set()  # type: ignore[attr-defined]
    actor.process.threads.append(thread)


def _run(thread: threading.Thread) -> None:
    try:
        thread.run()
    finally:
        thread._is_stopped = True  # type: ignore[attr-defined]


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    joined: Actor | None = getattr(thread, "_simulated", None)
    actor = current()
    if joined is None or actor is None:
        _real_join(thread, timeout)
        return
    until = math.inf if timeout is None else actor.scheduler.now + timeout
    joined.joiners.append(actor)
    while not joined.done and actor.scheduler.now < until:
        actor.scheduler.wait(until)


def _is_alive(thread: threading.Thread) -> bool:
    simulated: Actor | None = getattr(thread, "_simulated", None)
    return _real_is_alive(thread) if simulated is None else not simulated.done


def _main_thread() -> threading.Thread:
    actor = current()
    return actor.process.actors[0].thread if actor else _real_main_thread()


def _pool(pool: Any, *arguments: Any, **options: Any) -> None:
    _real_pool(pool, *arguments, **options)
    if actor := current():
        actor.process.pools.append(pool)


def end_of_process() -> None:
    """What Python does when a program's main thread is through: it waits for all others that are no daemons."""
    actor = current()
    assert actor
    for pool in actor.process.pools:
        pool.shutdown(wait=True)
    for thread in actor.process.threads:
        if not thread.daemon:
            thread.join()


PATCHES: tuple[Patch, ...] = (
    (threading, "Lock", _lock),
    (threading, "RLock", _rlock),
    (threading, "_allocate_lock", _lock),
    (threading, "main_thread", _main_thread),
    (threading.Thread, "start", _start),
    (threading.Thread, "join", _join),
    (threading.Thread, "is_alive", _is_alive),
    (queue, "SimpleQueue", SimpleQueue),
    (concurrent.futures.thread.ThreadPoolExecutor, "__init__", _pool),
)
