"""To an engine that speaks TLS on a bare port of a rented machine.

Nothing is sent to it before it has proven, in the handshake, to hold the deployment's own certificate.
"""

import asyncio
import os
import socket
import ssl
from urllib.parse import urlsplit

from gpu_cli.fleet.reach.forwarder import CONNECT_DEADLINE_S, Streams, Way

PROBE_AFTER_S = 60
"""Routers forget a connection on which nothing has passed for minutes, as while a long answer is made at once."""


class PinnedTls(Way):
    """A connection of its own for each client's; the endpoint's URL tells host and port."""

    def __init__(self, name: str, pinned: ssl.SSLContext) -> None:
        super().__init__()
        self._name = name
        self._context = pinned

    async def connect(self) -> Streams:
        """Handshake included."""
        url = urlsplit(self.endpoint)
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=self._context)
        _keep_alive(writer.get_extra_info("socket"))
        return reader, writer

    def why_not(self, error: OSError) -> str:
        """A wrong certificate above all."""
        where = urlsplit(self.endpoint).netloc
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"what answers at {where} does not have the certificate of {self._name}: nothing was sent to it"
        return f"{self._name} is not reachable at {where}: {_cause(error)}"


def _cause(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.SSLError):
        return f"no TLS is spoken there ({error.reason})"
    return os.strerror(error.errno) if error.errno else "the connection was closed"


def _keep_alive(connection: socket.socket) -> None:
    """Linux and macOS have different names for the time after which a silent connection is probed."""
    after = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if after is not None:
        connection.setsockopt(socket.IPPROTO_TCP, after, PROBE_AFTER_S)
