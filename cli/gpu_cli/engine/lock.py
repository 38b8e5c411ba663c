"""One writer at a time, between processes."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.2


@contextmanager
def exclusive(
    path: Path,
    *,
    deadline_s: float,
    waiting: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Hold the lock for the block; yields its descriptor.

    A child process that is given the descriptor keeps the lock until it ends too, so what a killed parent leaves
    running still counts as the writer. Calls `waiting` once when someone else has the lock. Raises TimeoutError after
    `deadline_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, deadline_s, waiting, sleep)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, deadline_s: float, waiting: Callable[[], None], sleep: Callable[[float], None]) -> None:
    if _try(descriptor):
        return
    waiting()
    for _ in range(int(deadline_s / _POLL_S)):
        sleep(_POLL_S)
        if _try(descriptor):
            return
    raise TimeoutError(f"no lock after {deadline_s:.0f} s")


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
