"""A stand-in for an engine that speaks TLS with the certificate that it is given, in threads of the test's own.

Without one it speaks plain HTTP.
"""

import json
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from gpu_providers.base import Secret


def server_context(pem: Secret) -> ssl.SSLContext:
    """Of a server with this certificate and private key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem.reveal())
        file.flush()
        context.load_cert_chain(file.name)
    return context


class TlsEngine:
    """`with TlsEngine(pem) as engine`: `engine.url`. Streams wait for `go`, one release a token, when `paced`."""

    def __init__(self, pem: Secret | None, *, port: int = 0, paced: bool = False) -> None:
        self.pem = pem
        self.go = threading.Semaphore(0)
        self.paced = paced
        self.hung_up = threading.Event()
        """A client has gone in the midst of `/endless`."""
        self.met = 0
        """Connections, whatever came of their handshake."""
        self.heard = bytearray()
        """What came out of TLS before HTTP was read of it, connection by connection."""
        self._server = _Server(self, server_context(pem) if pem else None, port)
        self.port: int = self._server.server_port
        self.url = f"{'https' if pem else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, engine: TlsEngine, context: ssl.SSLContext | None, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.engine = engine
        self.context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.engine.met += 1
        with self.context.wrap_socket(request, server_side=True) if self.context else request as connection:
            super().finish_request(connection, client_address)  # type: ignore[arg-type]

    def handle_error(self, *_: object) -> None:
        """Clients may go when they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def parse_request(self) -> bool:
        self.server.engine.heard += self.raw_requestline
        return super().parse_request()

    def do_GET(self) -> None:
        kind, _, rest = self.path.removeprefix("/").partition("/")
        if kind == "stream":
            self.stream(*rest.split("/"))
        elif kind == "endless":
            self.endless()
        elif kind == "close":
            self.close_connection = True
            self.answer(b"x" * int(rest), length=False)
        else:
            self.answer(b"ok")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            self.answer(body)
            return
        pieces = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in json.loads(body)["model"]]
        self.chunks([*(f"data: {json.dumps(piece)}\n\n" for piece in pieces), "data: [DONE]\n\n"])

    def answer(self, body: bytes, *, length: bool = True) -> None:
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, name: str, count: str) -> None:
        self.chunks([f"{name}-{number}\n" for number in range(int(count))])

    def chunks(self, pieces: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            if self.server.engine.paced:
                self.server.engine.go.acquire()
            self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"token\n")
        except OSError:
            self.server.engine.hung_up.set()

    def log_message(self, *_: object) -> None:
        """Quiet."""
