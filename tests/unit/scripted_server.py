"""A real HTTP server that gives prepared answers in order, breaks off where told, and keeps what it was asked."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer. Without `status` the connection is reset once the request has been read."""

    status: int | None = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before anything is sent."""
    cut: int | None = None
    """Break the connection after so many bytes of the body."""
    stay_s: float = 0.0
    """How long to keep the connection open after the body, which then has no length."""


def said(document: Any, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON."""
    return Reply(status, json.dumps(document), {"Content-Type": "application/json", **headers})


def problem(status: int, detail: str, **more: Any) -> Reply:
    """A refusal of RunPod's API v2."""
    document = {"title": "Refused", "status": status, "detail": detail, **more}
    return Reply(status, json.dumps(document), {"Content-Type": "application/problem+json"})


RESET = Reply(status=None)
PAGE = Reply(200, "<html><title>Welcome</title></html>", {"Content-Type": "text/html"})


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: Any


class ScriptedServer:
    """Use in `with`: at its end every prepared answer must have been asked for."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = deque(replies)
        self.asked: list[Asked] = []
        self.leaving = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        if kind is None:
            assert not self.replies, f"never asked for: {list(self.replies)}"


class _Server(ThreadingHTTPServer):
    script: ScriptedServer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if self.raw_requestline and self.parse_request():
            script = self.server.script
            script.asked.append(self._asked())
            self._answer(script.replies.popleft() if script.replies else Reply(599, "not in the script"))

    def _asked(self) -> Asked:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Asked(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(body) if body else None,
        )

    def _answer(self, reply: Reply) -> None:
        self.server.script.leaving.wait(reply.delay_s)
        if reply.status is None:
            self._reset()
            return
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if not reply.stay_s:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: reply.cut])
        self._stay(reply.stay_s)

    def _stay(self, stay_s: float) -> None:
        """Until the caller hangs up, the time is over, or the server leaves."""
        end = time.monotonic() + stay_s
        self.connection.settimeout(0.02)
        while time.monotonic() < end and not self.server.script.leaving.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    return

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()  # it holds the socket, too
        self.connection.close()

    def log_message(self, *args: object) -> None:
        """Silent."""
