"""How far a transfer is."""

import threading
import time
from collections.abc import Callable

GB = 1e9
MB = 1e6


class Meter:
    """Counts the bytes of a transfer, and tells how far it is and how fast; safe to use from several threads."""

    def __init__(self, total: int, tell: Callable[[str], object]) -> None:
        self.total = total
        self.sent = 0
        self._there = 0
        self._tell = tell
        self._lock = threading.Lock()
        self._begun = time.monotonic()

    def skip(self, size: int) -> None:
        """So much need not be sent: it was there before."""
        with self._lock:
            self._there += size

    def count(self, size: int) -> None:
        """So much more has arrived."""
        with self._lock:
            self.sent += size
            done, bytes_per_s = self._there + self.sent, self.sent / max(0.001, time.monotonic() - self._begun)
        self._tell(f"{done / GB:.1f} of {self.total / GB:.1f} GB, {bytes_per_s / MB:.0f} MB/s")
