"""How often Lambda may be asked: its limits are per account, so all processes of this user keep them together.

One request a second, one launch in 12 seconds (https://docs.lambda.ai/api/cloud). Two programs that each keep the
limit, and know nothing of each other, break it.
"""

import fcntl
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TextIO


class Turn(StrEnum):
    """What a request counts as."""

    REQUEST = "request"
    LAUNCH = "launch"
    """A request, too."""


INTERVALS_S = {Turn.REQUEST: 1.1, Turn.LAUNCH: 13.0}
"""Somewhat more than the limits: two that leave so far apart may arrive closer together."""
_TICK_S = 0.001
"""No wait is shorter: clocks go in steps."""


class Pace:
    """Turns to ask, one after the other, whichever process takes them; safe to share between threads.

    The folder holds a file a limit, with the time of the last turn. It is locked only while that is read and written,
    never while one waits: whoever is stopped, or killed, holds up nobody.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        *,
        scale: float = 1.0,
    ) -> None:
        """`scale` is for a cloud in tests, whose time may run faster: all intervals are so many times as long."""
        self._folder = folder
        self._scale = scale
        self._clock = clock
        """Seconds that all processes count alike."""
        self._sleep = sleep

    def wait(self, kind: Turn = Turn.REQUEST) -> None:
        """Return when this may be asked. Where no file can be kept nothing is waited for: Lambda itself says 429."""
        if kind is not Turn.REQUEST:
            self._take(kind)
        self._take(Turn.REQUEST)

    def _take(self, kind: Turn) -> None:
        while left_s := self._left_s(kind):
            self._sleep(left_s)

    def _left_s(self, kind: Turn) -> float:
        """How long until the next turn; 0 once it is taken."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"last-{kind}").open("a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                return self._left_by(file, INTERVALS_S[kind] * self._scale)
        return 0.0

    def _left_by(self, file: TextIO, interval_s: float) -> float:
        """A time to come is the word of a clock that was set back since: it holds up nobody."""
        now_s = self._clock()
        since_s = now_s - _last_s(file)
        if 0 <= since_s < interval_s:
            return max(interval_s - since_s, _TICK_S)
        file.truncate(0)
        file.write(repr(now_s))
        return 0.0


def _last_s(file: TextIO) -> float:
    """The epoch where the file does not say."""
    file.seek(0)
    try:
        return float(file.read())
    except ValueError:
        return 0.0
