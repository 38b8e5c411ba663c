"""Where a process can be killed: at each request that it makes of a cloud, before it takes effect or after."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psutil
from emulators.server import Reset
from emulators.witness import Witness

SAME_AGAIN = 3
"""Who polls makes equal requests again and again: from the third on they are one point."""


class When(StrEnum):
    """As seen from the cloud."""

    BEFORE = "before"
    """The request takes no effect."""
    AFTER = "after"
    """It does, and the answer is lost."""


@dataclass(frozen=True)
class Point:
    """One moment in the life of a process."""

    call: str
    nth: int
    """Of its kind, counted from 1."""
    when: When

    def __str__(self) -> str:
        return f"{self.when} {self.call} #{self.nth}"


def points_of(calls: Sequence[str]) -> list[Point]:
    """All that there are in a process that made these calls."""
    kinds = {(call, min(calls[: i + 1].count(call), SAME_AGAIN)): None for i, call in enumerate(calls)}
    return [Point(call, nth, when) for call, nth in kinds for when in When]


class Trap(Witness):
    """Writes down what one process asks of a cloud, and strikes at a point of it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, point: Point | None = None, strike: Callable[[], None] = lambda: None) -> None:
        """For the next process. `strike` is called when it comes to the point, once; it is to kill the process."""
        self.calls: list[str] = []
        self.struck = False
        self._met: Counter[str] = Counter()
        self._point = point
        self._strike = strike
        self.pid = 0
        self._known = threading.Event()
        self._striking = threading.Lock()

    def watch(self, pid: int) -> None:
        """It is this process; no request is answered before that is known."""
        self.pid = pid
        self._known.set()

    def sees(self, call: str, client: int) -> Callable[[], None]:
        self._known.wait()
        if not self._asks(client):
            return lambda: None
        with self._striking:
            self.calls.append(call)
            self._met[call] += 1
            nth = self._met[call]
        self._strike_at(Point(call, nth, When.BEFORE))
        return lambda: self._strike_at(Point(call, nth, When.AFTER))

    def _strike_at(self, point: Point) -> None:
        if point == self._point:
            self.struck = True
            self._strike()
            raise Reset

    def _asks(self, client: int) -> bool:
        """Whether the process has that port."""
        try:
            connections = psutil.Process(self.pid).net_connections("tcp4")
        except psutil.Error:
            return False
        return any(connection.laddr.port == client for connection in connections)
