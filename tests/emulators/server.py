"""HTTP/1.1 on loopback for emulated clouds: requests, answers (whole or streamed), routes, and a server that leaves
nothing behind.
"""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


class Reset(Exception):
    """Raised by a handler: the connection is reset instead of answered."""


@dataclass(frozen=True)
class Request:
    """One request; the names of headers are in lower case, of a repeated query parameter the last value counts."""

    method: str
    path: str
    """As sent: still percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    """The values of the `{names}` in the route's path, decoded."""
    raw_query: str = ""
    client: int = 0
    """The port it came from."""

    def json(self) -> Any:
        """The body, or None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def bearer(self) -> str:
        """The key of the Authorization header, or nothing."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True)
class Response:
    """One answer. A body of bytes goes out with its length; an iterator's parts go out one by one, as chunks, as they
    come, and the iterator is closed when it ends or the client has left.
    """

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


Handler = Callable[[Request], Response]


def json_response(value: object, status: int = 200, content_type: str = "application/json") -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": content_type})


@dataclass(frozen=True)
class Route:
    """What answers `method` (`*`: any) on `path`, where `{name}` is one segment and `{name...}` is all that is left
    (it may be empty).
    """

    method: str
    path: str
    handle: Handler
    call: str = ""
    """What rules of misbehaviour call it: one of misbehaviour.CALLS; without, no rule is about it."""
    locked: bool = True
    """Whether the cloud's lock is held while it is answered. What waits for others (a proxy, a stream) takes the lock
    itself, for moments."""


class Router:
    """Routes, found by method and path; the first one that fits counts."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(_pattern(route.path), route) for route in routes]

    def find(self, request: Request) -> tuple[Route, Request] | Sequence[str]:
        """The route with the request as it sees it; or the methods that this path knows, none for an unknown path."""
        allowed = []
        for pattern, route in self._routes:
            if found := pattern.fullmatch(request.path):
                if route.method in ("*", request.method):
                    return route, replace(request, params=_decoded(found))
                allowed.append(route.method)
        return allowed


def _pattern(path: str) -> re.Pattern[str]:
    kinds = {"": "[^/]+", "...": ".*"}
    literal_or_name = re.split(r"\{(\w+)(\.\.\.)?\}", path)  # literal, name, dots, literal, name, dots, …, literal
    parts = [re.escape(literal_or_name[0])]
    for name, dots, literal in zip(*(literal_or_name[i::3] for i in (1, 2, 3)), strict=True):
        parts.append(f"(?P<{name}>{kinds[dots or '']}){re.escape(literal)}")
    return re.compile("".join(parts))


def _decoded(found: re.Match[str]) -> dict[str, str]:
    return {name: unquote(value) for name, value in found.groupdict().items()}


class Server:
    """Answers on a port of loopback (0: any free one) from `start` to `stop`; afterwards no thread and no socket is
    left, whatever clients were doing.
    """

    def __init__(self, answer: Handler, port: int = 0) -> None:
        self.stopping = threading.Event()
        """Set first of all when the server stops: whatever waits, waits for this as well."""
        self._answer = answer
        self._port = port
        self._http: _Http | None = None

    @property
    def url(self) -> str:
        assert self._http, "the server is not running"
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        self._http = _Http(("127.0.0.1", self._port), type("Answering", (_Connection,), {"answer": self._answered}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="emulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self._http:
            self._http.shutdown()
            self._thread.join()
            self._http.hang_up()
            self._http.server_close()

    def _answered(self, request: Request) -> Response:
        return self._answer(request)


class _Http(ThreadingHTTPServer):
    """With a thread for each connection, of which it keeps count, since clients keep theirs open."""

    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._resets: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._connections[request] = thread
        thread.start()

    def reset(self, connection: socket.socket) -> None:
        """It will end with a reset instead of a goodbye."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._resets.add(connection)

    def shutdown_request(self, request: Any) -> None:
        self._connections.pop(request, None)
        if request in self._resets:
            self._resets.remove(request)
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends every connection."""
        for connection, thread in list(self._connections.items()):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def handle_error(self, *_: Any) -> None:
        raise  # a bug of the emulator ends the thread, and so fails the test


class _Connection(BaseHTTPRequestHandler):
    """One client's connection: request after request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Handler
    server: _Http
    connection: socket.socket

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has left, be it between two requests
            super().handle()

    def _request(self) -> None:
        try:
            self._send(self.answer(self._read()))
        except Reset:
            self.server.reset(self.connection)
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _request  # noqa: N815

    def _read(self) -> Request:
        url = urlsplit(self.path)
        return Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            raw_query=url.query,
            client=self.client_address[1],
        )

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if isinstance(response.body, bytes):
            self._send_whole(response, response.body)
        else:
            self._send_parts(response.body)

    def _send_whole(self, response: Response, body: bytes) -> None:
        if response.status != 204 and "Content-Length" not in response.headers:  # of a HEAD, which has no body
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_parts(self, parts: Iterator[bytes]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        try:
            self.end_headers()
            for part in filter(None, parts):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        finally:
            getattr(parts, "close", lambda: None)()

    def log_message(self, *arguments: object) -> None:
        pass
