"""Locks between processes. The kernel drops a lock with its process, so a killed holder never blocks anyone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_cli.fleet.state_files import kept_in


class Lock:
    """An advisory lock on a file; held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

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
    """Whether some process has the lock now."""
    lock = Lock(path)
    if not path.exists() or not lock.try_acquire():
        return path.exists()
    lock.release()
    return False


@contextmanager
def released(lock: Lock) -> Iterator[Lock]:
    """Give an acquired lock back at the end of the block."""
    try:
        yield lock
    finally:
        lock.release()
