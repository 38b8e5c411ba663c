"""Log streams of pods and workers, as server-sent events (RunPod's API v2: getPodLogs, getWorkerLogs).

    query   source     container or system; both when absent
            tail       how many lines of the past come first: 0 to 5000, 100 when absent
            since      RFC 3339: the lines from then on, whatever `tail` says
    header  Last-Event-ID, a time or an id of this stream: the lines after it; beats both

A frame is `id: TIMESTAMP/NUMBER` and `data: {"ts", "source", "line"}`; a comment `: keepalive` comes when nothing else
does. The stream does not end while the container exists. Of a container that is gone it gives what there is, for two
minutes; then there is no such log.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..clock import Clock
from ..container_log import CONTAINER, SYSTEM, Log, LogLine
from ..server import Request, Response
from .answers import not_found, problem

KEPT_S = 120.0
"""How long a log outlives its container, on the cloud's clock."""
KEEPALIVE_S = 1.0
"""Real time. A client that has hung up is noticed when something is sent to it."""
WAIT_S = 0.1
SOURCES = (CONTAINER, SYSTEM)
USUAL_TAIL = 100
MOST_TAIL = 5000
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}
KEEPALIVE = b": keepalive\n\n"
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Asked:
    """What a client wants of a log. Raises ValueError, whose text is the server's answer, for what cannot be."""

    sources: Sequence[str]
    tail: int | None
    """None: all of the past that `since_ns` and `after` leave."""
    since_ns: int = 0
    after: int = 0
    """A line's number."""

    @classmethod
    def of(cls, request: Request) -> "Asked":
        sources = [source] if (source := request.query.get("source")) else SOURCES
        require(set(sources) <= set(SOURCES), "$.source: value must be one of 'container', 'system'")
        if event := request.headers.get("last-event-id"):
            timestamp, _, number = event.partition("/")
            require(not number or number.isdecimal(), "Last-Event-ID: not an id of this stream")
            at_ns = nanoseconds(timestamp)
            return cls(sources, None, at_ns if number else at_ns + 1, int(number or 0))
        if since := request.query.get("since"):
            return cls(sources, None, nanoseconds(since))
        tail = request.query.get("tail", str(USUAL_TAIL))
        require(tail.isdecimal() and int(tail) <= MOST_TAIL, f"$.tail: must be from 0 to {MOST_TAIL}")
        return cls(sources, int(tail))

    def wants(self, line: LogLine) -> bool:
        return line.source in self.sources and line.at_ns >= self.since_ns and line.number > self.after

    def past(self, lines: Sequence[LogLine]) -> Sequence[LogLine]:
        """What comes first, of all lines so far."""
        wanted = [line for line in lines if self.wants(line)]
        return wanted if self.tail is None else wanted[max(0, len(wanted) - self.tail) :]


class LogStreams:
    """`find` answers the log that a request is for, None where there never was one; called without the cloud's lock."""

    def __init__(self, find: Callable[[Request], Log | None], clock: Clock, stopping: threading.Event) -> None:
        """`stopping` ends every stream: the server's own."""
        self._find = find
        self._clock = clock
        self._stopping = stopping

    def handle(self, request: Request) -> Response:
        log = self._find(request)
        if log is None or (log.ended_s is not None and self._clock.now() - log.ended_s > KEPT_S):
            return not_found()
        try:
            asked = Asked.of(request)
        except ValueError as error:
            return problem(422, str(error))
        return Response(200, self._frames(log, asked), HEADERS)

    def _frames(self, log: Log, asked: Asked) -> Iterator[bytes]:
        ended, lines = log.ended_s is not None, log.lines()
        yield from map(frame, asked.past(lines))
        sent_s, seen = time.monotonic(), lines[-1].number if lines else 0
        while not ended and not self._stopping.is_set():
            ended, lines = log.ended_s is not None, log.lines(after=seen, wait_s=WAIT_S)
            seen = lines[-1].number if lines else seen
            frames = [frame(line) for line in lines if asked.wants(line)]
            if not frames and time.monotonic() - sent_s >= KEEPALIVE_S:
                frames = [KEEPALIVE]
            sent_s = time.monotonic() if frames else sent_s
            yield from frames


def frame(line: LogLine) -> bytes:
    data = json.dumps({"ts": line.ts, "source": line.source, "line": line.line})
    return f"id: {line.ts}/{line.number:012d}\ndata: {data}\n\n".encode()


def nanoseconds(timestamp: str) -> int:
    """Since 1970 UTC, of an RFC 3339 time with up to nine digits behind the second. Raises ValueError."""
    found = TIMESTAMP.fullmatch(timestamp.replace(" ", "+"))  # a plus sign in a query reads as a space
    require(found, "must be an RFC 3339 date-time")
    assert found
    second = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    return int(second.timestamp()) * 10**9 + int((found[2] or "0").ljust(9, "0"))


def require(condition: object, complaint: str) -> None:
    """Raises ValueError unless the condition holds."""
    if not condition:
        raise ValueError(complaint)
