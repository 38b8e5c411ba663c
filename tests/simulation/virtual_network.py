"""The network of a simulation: requests go straight to the emulated clouds and engines, and take simulated time."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import httpx
from emulators.server import Request, Reset, Response
from scheduler import CutShort, Process
from virtual_threads import current

_RealTransport = httpx.HTTPTransport
WAY_S = 0.03
"""From here to there."""

Serve = Callable[[Request], Response]


class Unreachable(Exception):
    """Nobody listens there."""


@dataclass
class Network:
    """Who answers, by the host and port of a URL."""

    hosts: dict[str, Serve] = field(default_factory=dict)
    watchers: list[Callable[[Process, Request, Response | None], object]] = field(default_factory=list)
    """Told of each request twice: before it takes effect, and with its answer before that arrives."""

    def exchange(self, request: Request, host: str) -> Response:
        """Raises Unreachable and Reset."""
        actor = current()
        assert actor
        actor.scheduler.sleep(WAY_S)
        if (serve := self.hosts.get(host)) is None:
            raise Unreachable(host)
        self._tell(actor.process, request, None)
        response = serve(request)
        self._tell(actor.process, request, response)
        actor.scheduler.sleep(WAY_S)
        return response

    def _tell(self, process: Process, request: Request, response: Response | None) -> None:
        for watcher in list(self.watchers):
            watcher(process, request, response)


def request_of(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[Request, str]:
    """As an emulator sees it, and to whom it goes."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = {name.lower(): value for name, value in headers.items()}
    return Request(method, parts.path, query, named, body, raw_query=parts.query), parts.netloc


network: Network | None = None


class Transport(httpx.BaseTransport):
    """What httpx sends through."""

    def __init__(self, **_: object) -> None:
        pass

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert network
        actor = current()
        assert actor
        asked, host = request_of(request.method, str(request.url), request.headers, request.read())
        wait_s = (request.extensions.get("timeout") or {}).get("read") or math.inf
        try:
            with actor.scheduler.patience(wait_s):
                response = network.exchange(asked, host)
        except CutShort:
            raise httpx.ReadTimeout("no answer in time", request=request) from None
        except Reset:
            raise httpx.ReadError("the connection was reset", request=request) from None
        except Unreachable:
            raise httpx.ConnectError("connection refused", request=request) from None
        line = Line()
        body = [response.body] if isinstance(response.body, bytes) else response.body
        return httpx.Response(
            response.status,
            headers=list(response.headers.items()),
            stream=Parts(iter(body), line, wait_s, request),
            extensions={"network_stream": line},
        )


class Line:
    """The connection of an answer that is being read, which others may break."""

    broken = False

    def get_extra_info(self, _: str) -> "Line":
        return self

    def shutdown(self, _: int) -> None:
        self.broken = True


class Parts(httpx.SyncByteStream):
    """A body as it comes."""

    def __init__(self, parts: Iterator[bytes], line: Line, wait_s: float, request: httpx.Request) -> None:
        self._parts, self._line, self._wait_s, self._request = parts, line, wait_s, request

    def __iter__(self) -> Iterator[bytes]:
        while (part := self._next()) is not None:
            yield part

    def _next(self) -> bytes | None:
        actor = current()
        assert actor
        if self._line.broken:
            raise httpx.ReadError("the connection broke", request=self._request)
        try:
            with actor.scheduler.patience(self._wait_s):
                return next(self._parts, None)
        except CutShort:
            raise httpx.ReadTimeout("no answer in time", request=self._request) from None
        except Reset:
            raise httpx.ReadError("the connection was reset", request=self._request) from None

    def close(self) -> None:
        getattr(self._parts, "close", lambda: None)()


def transport(*arguments: object, **options: object) -> httpx.BaseTransport:
    """In the place of httpx's own."""
    return Transport() if current() else _RealTransport(*arguments, **options)  # type: ignore[arg-type]
