"""Locks between processes. The kernel drops a lock with its process, so a killed holder never blocks anyone."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_cli.state_files import kept_in

_POLL_S = 0.2


class Lock:
    """An advisory lock on a file; held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """Of the file, while it is held. A child that is given it keeps the lock until it ends too, so that what a
        killed parent leaves running still counts as the holder.
        """
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not held")
        return self._descriptor

    @property
    def is_acquired(self) -> bool:
        """Whether this one holds it."""
        return self._descriptor is not None

    def try_acquire(self) -> bool:
        """Take it if no one has it. Never waits. Raises UserError when its file cannot be made."""
        with kept_in(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let others have it; the file stays, since removing it would split the lock in two."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Whether some process has the lock now. Those who look at once do not take each other for the holder."""
    if not path.exists():
        return False
    with kept_in(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def released(lock: Lock) -> Iterator[Lock]:
    """Give the lock back at the end of the block, if it was acquired."""
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def exclusive(
    path: Path,
    *,
    deadline_s: float,
    waiting: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Hold the lock for the block; yields its descriptor.

    Calls `waiting` once when someone else has it. Raises TimeoutError after `deadline_s`.
    """
    with released(Lock(path)) as lock:
        if not lock.try_acquire():
            waiting()
            _wait_for(lock, deadline_s, sleep)
        yield lock.descriptor


def _wait_for(lock: Lock, deadline_s: float, sleep: Callable[[float], None]) -> None:
    for _ in range(int(deadline_s / _POLL_S)):
        sleep(_POLL_S)
        if lock.try_acquire():
            return
    raise TimeoutError(f"no lock after {deadline_s:.0f} s")
