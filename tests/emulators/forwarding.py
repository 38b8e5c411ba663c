"""One request passed on to a container, as a proxy or a load balancer does it, and the answer back.

Both pass unchanged but for the headers that belong to one connection; an answer of unknown length goes through as it
comes.
"""

import http.client
from collections.abc import Iterable, Iterator

from .clock import Clock
from .server import Request, Reset, Response

LEAST_SILENCE_S = 2.0
PART_BYTES = 65_536
OF_ONE_CONNECTION = {
    *("connection", "content-length", "date", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("server", "te", "trailer", "transfer-encoding", "upgrade"),
}
PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1><p>{1}</p></body></html>\n"


def real_silence_s(seconds: float, clock: Clock) -> float:
    """So many of the cloud's seconds in ours, but not too few: engines do not run faster when the clock does."""
    return max(seconds / clock.speed, LEAST_SILENCE_S)


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
