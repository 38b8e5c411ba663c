"""Time, injected so that tests never wait."""

import time


class Clock:
    """The machine's clock. `now` is seconds since the epoch, UTC, as kept in the store and shared between processes."""

    def now(self) -> float:
        """Wall time: it goes on while the machine is suspended."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
