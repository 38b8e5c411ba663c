"""HTTP for those who scrape the guard: one path, and for this machine alone."""

import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, ThreadingTCPServer
from threading import Thread

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from gpu_cli.errors import UserError
from gpu_cli.fleet.guard.metrics_port import HOST, PATH
from gpu_cli.fleet.store import StoreCorrupt

OWN_NAMES = ("127.0.0.1", "localhost")
"""Of this machine. A web page whose name was made to point here (DNS rebinding) asks by that name."""
PATIENCE_S = 10.0
"""For who connects and says nothing."""
TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]
"""Status, type, and what is in it."""


class MetricsServer(ThreadingTCPServer):
    """Has its port from the beginning: raises OSError where that is taken. Serves in threads of its own."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        super().__init__((HOST, port), lambda *connection: _Handler(registry, *connection))
        self._over = False
        self._thread = Thread(target=self._serve, name="metrics", daemon=True)

    def start(self) -> None:
        """Serve, until it is closed."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._over = True
        with suppress(OSError):
            socket.create_connection((HOST, self.port)).close()  # it waits for nothing but this
        self._thread.join(PATIENCE_S)
        self.server_close()

    @property
    def port(self) -> int:
        """Where it serves."""
        return int(self.server_address[1])

    def _serve(self) -> None:
        """Unlike `serve_forever`, which wakes twice a second to see whether it is over."""
        while not self._over:
            self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S

    def __init__(self, registry: CollectorRegistry, connection: object, address: object, server: BaseServer) -> None:
        self._registry = registry
        super().__init__(connection, address, server)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """To Prometheus, and to a browser."""
        status, content_type, content = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - as its base calls it

    def handle(self) -> None:
        """Who asks may go before the answer."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base has it
        """Nothing of each scrape."""

    def _answer(self) -> Answer:
        if self.headers.get("Host", "").partition(":")[0] not in OWN_NAMES:
            return 403, TEXT, b"this is for 127.0.0.1 alone\n"
        if self.path.partition("?")[0] != PATH:
            return 404, TEXT, f"see {PATH}\n".encode()
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        try:
            return 200, content_type, encode(self._registry)
        except (UserError, StoreCorrupt) as error:
            return 503, TEXT, f"{error}\n".encode()
