"""RunPod's log streams: events that are JSON, and an id by which a stream can be taken up again.

As in the OpenAPI document at https://api.runpod.io/v2/openapi.json, under `/v2/pods/{id}/logs`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from gpu_providers.errors import ProviderUnavailable, RateLimited
from gpu_providers.event_stream import Event, Reading, events
from gpu_providers.http import Http, Request
from gpu_providers.values import parsed

RESUME_S = 5.0
"""How long to wait before a stream that ended is taken up again: some end at once, and RunPod counts requests."""
FAILURES = 3
"""How many times in a row that may fail."""
MOST_LINES = 5000
"""RunPod gives no more of the past."""


@dataclass(frozen=True)
class LogQuery:
    """What of a log is wanted, and for how long it is read: such a stream has no end."""

    source: str = ""
    """`container`, `system`, or empty for both."""
    tail: int = MOST_LINES
    """The last so many lines, 0 to MOST_LINES."""
    since: str = ""
    """The lines from that moment on (RFC 3339), whatever `tail` says; empty for no moment."""
    follow: bool = False
    """Go on when there are no more lines for a moment, until `stop()`."""
    stop: Callable[[], bool] = lambda: False
    read_s: float = 10.0
    """The longest that it takes without `follow`."""

    def params(self) -> dict[str, str]:
        """As the routes for logs want it."""
        tail = "" if self.since else str(min(self.tail, MOST_LINES))
        asked = {"source": self.source, "since": self.since, "tail": tail}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True)
class LogLine:
    """One line of a log."""

    ts: str
    """RFC 3339, with up to nine digits of a second; may be empty."""
    source: str
    """`container` or `system`."""
    line: str


def log_lines(http: Http, request: Request, reading: Reading) -> Iterator[LogLine]:
    """The lines of one reading. One that follows survives the end of the stream, and ends with NotFound."""
    cursor, failures = "", 0
    while True:
        known = cursor
        try:
            for event in events(http, _resumed(request, known), reading):
                failures = 0
                cursor = event.event_id or cursor
                if not known or event.event_id != known:  # a stream may begin with the event that it is resumed from
                    yield _line(event)
        except (ProviderUnavailable, RateLimited):
            failures += 1
            if not reading.follow or failures > FAILURES:
                raise
        if not reading.follow or reading.stop():
            return
        http.sleep(RESUME_S)


def _resumed(request: Request, cursor: str) -> Request:
    return replace(request, headers={**request.headers, "Last-Event-ID": cursor}) if cursor else request


def _line(event: Event) -> LogLine:
    try:
        said = parsed(event.data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return LogLine(ts=event.event_id.partition("/")[0], source="", line=event.data)
    return LogLine(*(str(said.get(name) or "") for name in ("ts", "source", "line")))
