"""The emulated cloud's time: it starts as ours and may run faster, or be moved."""

import time
from datetime import UTC, datetime


class Clock:
    """Seconds of the cloud's own time; `speed` of them pass in one of ours."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._started = time.monotonic()
        self._origin = time.time()

    def now(self) -> float:
        """Seconds since 1970, in the cloud's time."""
        return self._origin + (time.monotonic() - self._started) * self.speed

    def advance(self, seconds: float) -> None:
        """Lets `seconds` of the cloud's time pass at once."""
        self._origin += seconds

    def timestamp(self, at: float | None = None) -> str:
        """RFC 3339 in UTC, to the second."""
        return datetime.fromtimestamp(self.now() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
