"""What a container has printed and what its host has done with it: lines with times, for any number of readers."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

CONTAINER = "container"
"""The source of what the command prints, stdout and stderr alike."""
SYSTEM = "system"
"""The source of what the host tells."""

KEPT_LINES = 20_000


@dataclass(frozen=True)
class LogLine:
    """One line. `number` counts from 1 and orders the lines, also those of the same nanosecond."""

    number: int
    at_ns: int
    """Nanoseconds since 1970 UTC, on the emulator's clock."""
    source: str
    line: str

    @property
    def ts(self) -> str:
        """RFC 3339 with nine digits, as RunPod writes it."""
        second, rest_ns = divmod(self.at_ns, 10**9)
        return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


class Log:
    """The last lines of one container; safe to use from several threads."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.ended_s: float | None = None
        """When the container was removed, on the emulator's clock; no line comes afterwards."""
        self._now_s = now_s
        self._kept: deque[LogLine] = deque(maxlen=KEPT_LINES)
        self._numbers = count(1)
        self._changed = threading.Condition()

    def add(self, source: str, line: str) -> None:
        with self._changed:
            self._kept.append(LogLine(next(self._numbers), int(self._now_s() * 1e9), source, line))
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended_s = self._now_s()
            self._changed.notify_all()

    def lines(self, *, after: int = 0, wait_s: float = 0.0) -> Sequence[LogLine]:
        """The lines with a greater number, oldest first; for the first of them it waits so long, in real seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended_s is not None or self._newest() > after, wait_s)
            return [line for line in self._kept if line.number > after]

    def _newest(self) -> int:
        return self._kept[-1].number if self._kept else 0
