"""The HTTP proxy in front of containers, as RunPod and the Cloudflare before it make it: {url}/proxy/{pod}/{port}/...

    no such pod, or its port is not declared as http    404
    nothing listens behind it (yet)                     502 with a web page
    100 s without a byte of the answer                  524 with a web page; a reset where the answer has begun

(RunPod's documentation: "Expose ports", "502 errors".) It asks for no key. Both directions pass unchanged but for the
headers that belong to one connection; an answer of unknown length goes through as it comes.
"""

import http.client
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from .clock import Clock
from .containers import Container
from .server import Request, Reset, Response, Route

SILENCE_S = 100.0
"""Of the cloud's time, but never less than LEAST_SILENCE_S of ours: engines do not run faster when the clock does."""
LEAST_SILENCE_S = 2.0
PART_BYTES = 65_536
OF_ONE_CONNECTION = {
    *("connection", "content-length", "date", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("server", "te", "trailer", "transfer-encoding", "upgrade"),
}
PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1><p>{1}</p></body></html>\n"


@dataclass(frozen=True)
class Exposed:
    """What a pod shows to the proxy."""

    http_ports: Collection[int]
    container: Container | None
    """None while there is none."""


class Proxy:
    """`find` answers what a pod exposes, None for an unknown pod. It is called without the cloud's lock."""

    def __init__(self, find: Callable[[str], Exposed | None], clock: Clock) -> None:
        self._find = find
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("*", "/proxy/{pod}/{port}", self.handle, call="proxy", locked=False),
            Route("*", "/proxy/{pod}/{port}/{path...}", self.handle, call="proxy", locked=False),
        ]

    def handle(self, request: Request) -> Response:
        exposed = self._find(request.params["pod"])
        if exposed is None or request.params["port"] not in map(str, exposed.http_ports):
            return page(404, "404 Not Found", "There is nothing at this address.")
        container, declared = exposed.container, int(request.params["port"])
        port = container.port if container and container.spec.port == declared else None
        if port is None:
            return bad_gateway()
        path = "/" + "/".join(request.path.split("/")[4:])
        return forward(request, port, path, silence_s=max(SILENCE_S / self._clock.speed, LEAST_SILENCE_S))


def forward(request: Request, port: int, path: str, *, silence_s: float) -> Response:
    """To that port of loopback, and its answer back; `silence_s` is real time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=silence_s)
    try:
        return _exchange(connection, request, path)
    except TimeoutError:
        connection.close()
        return page(524, "Error code 524", "A timeout occurred: nothing came from the origin in time.")
    except (OSError, http.client.HTTPException):
        connection.close()
        return bad_gateway()


def _exchange(connection: http.client.HTTPConnection, request: Request, path: str) -> Response:
    target = f"{path}?{request.raw_query}" if request.raw_query else path
    connection.request(request.method, target, request.body or None, _end_to_end(request.headers.items()))
    answer = connection.getresponse()
    headers = _end_to_end(answer.getheaders())
    if answer.length is None:
        return Response(answer.status, _Parts(connection, answer), headers)
    body = answer.read()
    connection.close()
    return Response(answer.status, body, headers)


class _Parts(Iterator[bytes]):
    """An answer as it comes. Closing it hangs up, so that the engine does not go on for nobody."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer

    def __next__(self) -> bytes:
        try:
            part = self._answer.read1(PART_BYTES)
        except (OSError, http.client.HTTPException):
            raise Reset from None
        if not part:
            raise StopIteration
        return part

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def _end_to_end(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in OF_ONE_CONNECTION}


def bad_gateway() -> Response:
    """What is shown while nothing listens."""
    return page(502, "Error code 502", "Bad gateway: the service on this port is not ready.")


def page(status: int, title: str, text: str) -> Response:
    """A web page, where an API would have answered JSON."""
    return Response(status, PAGE.format(title, text).encode(), {"Content-Type": "text/html; charset=UTF-8"})
