"""Server-sent events, read for a bounded time: such a stream has no end, and may be silent for as long as it likes.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import math
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from gpu_providers.errors import ProviderError, ProviderUnavailable
from gpu_providers.http import CALL_S, Answer, Http, Request

if TYPE_CHECKING:
    import httpx

QUIET_S = 1.0
"""A silence, once the stream has been opened, that means that the backlog is over."""
_SILENCE_S = 60.0
"""A connection that is silent for so long is dead: clouds send comments to keep it alive."""
_TICK_S = 0.1


@dataclass(frozen=True)
class Event:
    """One event. `event_id` is where to resume after it; empty where the cloud does not say."""

    event_id: str
    data: str


@dataclass(frozen=True)
class Reading:
    """How long to read, and what to make of an answer that is no stream."""

    refusal: Callable[[Answer], ProviderError]
    deadline: float
    """On the clock of the Http."""
    stop: Callable[[], bool]
    follow: bool
    """Go on when the backlog has been read."""


def events(http: Http, request: Request, reading: Reading) -> Iterator[Event]:
    """Until the cloud ends the stream, the deadline or `stop()`; without `follow`, to the end of the backlog.

    Raises what `refusal` makes of a refusal, and ProviderUnavailable when no answer comes or the connection fails.
    """
    line = _Line(http, request, reading.refusal)
    threading.Thread(target=line.listen, name="event-stream", daemon=True).start()
    try:
        yield from _events(_heard(line, http.clock, reading))
    finally:
        line.hang_up()


def _events(lines: Iterator[str]) -> Iterator[Event]:
    event_id, data = "", list[str]()
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "data":
            data.append(value)
        elif not line and data:
            yield Event(event_id, "\n".join(data))
            event_id, data = "", []


def _heard(line: "_Line", clock: Callable[[], float], reading: Reading) -> Iterator[str]:
    quiet_at = math.inf
    while not reading.stop() and clock() < reading.deadline:
        try:
            news = line.news.get(timeout=_TICK_S)
        except Empty:
            if not reading.follow and clock() >= quiet_at:
                return
            continue
        if isinstance(news, ProviderError):
            raise news
        if news is None or (not reading.follow and news == ": keepalive"):
            return
        quiet_at = clock() + QUIET_S
        yield news
    if line.response is None and not reading.stop():
        raise ProviderUnavailable(f"{line.request}: no answer in time", hint="try again later")


@dataclass
class _Line:
    """The connection. It is listened to in a thread, since a read cannot be interrupted from the one that waits."""

    http: Http
    request: Request
    refusal: Callable[[Answer], ProviderError]
    news: "SimpleQueue[str | ProviderError | None]" = field(default_factory=SimpleQueue)
    """Lines, then how it ended: an error, or None."""
    response: "httpx.Response | None" = None
    over: bool = False

    def listen(self) -> None:
        try:
            self._listen()
        except ProviderError as error:
            self.news.put(error)
        finally:
            self.news.put(None)

    def _listen(self) -> None:
        with self.http.opened(self.request, wait_s=_SILENCE_S) as response:
            self.response = response
            if not _is_stream(response):
                raise self.refusal(self.http.read(self.request, response, self.http.clock() + CALL_S))
            self.news.put("")  # the silence counts from here
            for text in response.iter_lines():
                if self.over:
                    return
                self.news.put(text)

    def hang_up(self) -> None:
        """Wakes the thread, which then ends."""
        self.over = True
        if self.response is not None and not self.response.is_closed:
            connection = self.response.extensions["network_stream"].get_extra_info("socket")
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the cloud, or the thread, was faster


def _is_stream(response: "httpx.Response") -> bool:
    """A web page from somebody in between would read as a log without lines."""
    return response.status_code == 200 and "text/event-stream" in response.headers.get("Content-Type", "")
