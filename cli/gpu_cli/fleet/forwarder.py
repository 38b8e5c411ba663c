"""From a port of loopback to an engine that speaks TLS on a bare port of a rented machine, byte for byte.

Clients speak plain HTTP to 127.0.0.1. Of what they send, nothing leaves this machine before the other side has proven,
in the handshake, to hold the deployment's own certificate.
"""

import asyncio
import contextlib
import json
import os
import resource
import socket
import ssl
import threading
from collections.abc import Collection, Coroutine
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from gpu_cli.fleet.certificates import pinned_context

LOOPBACK = "127.0.0.1"
CONNECT_DEADLINE_S = 10.0
"""For the connection and the handshake together."""
HANG_UP_S = 2.0
"""How long a client that has its answer may go on sending: closed before, it could lose the answer (RFC 9112, 9.6)."""
PIECE_BYTES = 65536
BACKLOG = 1024
PROBE_AFTER_S = 60
"""Routers forget a connection on which nothing has passed for minutes, as while a long answer is made at once."""
MOST_FILES = 65536


class Forwarder:
    """One deployment's: a listener on loopback, and the connections that it carries. Used in one event loop."""

    def __init__(self, name: str, pinned: ssl.SSLContext, listener: socket.socket) -> None:
        self.endpoint = ""
        """Where new connections go; it may move."""
        self.port: int = listener.getsockname()[1]
        self._name = name
        self._listener = listener
        self._context = pinned
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()

    @property
    def carries(self) -> bool:
        """Whether it has connections."""
        return bool(self._carried)

    async def listen(self) -> None:
        """Accept clients from now on."""
        self._server = await asyncio.start_server(self._accept, sock=self._listener, backlog=BACKLOG)

    async def stop_listening(self) -> None:
        """Let go of the port; what is carried goes on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Let go of everything."""
        await self.stop_listening()
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first bytes to its end; before it has said anything the other side is left alone."""
        with contextlib.suppress(OSError), contextlib.closing(writer):
            first = await reader.read(PIECE_BYTES)
            if first:
                await self._answer(first, reader, writer)
                await _hang_up(reader, writer)

    async def _answer(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except OSError as error:
            writer.write(_bad_gateway(self._why_not(error)))
            return
        try:
            far_writer.write(first)
            await _first_to_end(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        finally:
            # At once: a client that has ended its side has hung up, and the engine should stop working for nobody.
            far_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the endpoint of now, once it has shown its certificate. Raises OSError."""
        url = urlsplit(self.endpoint)
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=self._context)
        _keep_alive(writer.get_extra_info("socket"))
        return reader, writer

    def _why_not(self, error: OSError) -> str:
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


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As it comes, and no faster than the other side takes it."""
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


async def _first_to_end(*ways: Coroutine[Any, Any, None]) -> None:
    """Both at once, until one has come to its end, be it a broken one."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End our side, and take no notice of what the client still sends."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_UP_S):
            while await reader.read(PIECE_BYTES):
                pass


def _bad_gateway(why: str) -> bytes:
    """In the form of the OpenAI API, whose clients show the message of no other."""
    body = json.dumps({"error": {"message": why, "type": "bad_gateway", "param": None, "code": 502}}).encode()
    head = (
        "HTTP/1.1 502 Bad Gateway",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def _keep_alive(connection: socket.socket) -> None:
    """Linux and macOS have different names for the time after which a silent connection is probed."""
    after = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if after is not None:
        connection.setsockopt(socket.IPPROTO_TCP, after, PROBE_AFTER_S)


class Forwarders:
    """Those of all deployments, in an event loop in a thread of its own, which keeps no process alive."""

    def __init__(self) -> None:
        self._standing: dict[str, Forwarder] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarders", daemon=True)

    def start(self) -> Self:
        """Be ready for `stand`; `close` ends it."""
        _allow_many_files()
        self._thread.start()
        return self

    @property
    def carry(self) -> bool:
        """Whether there are connections."""
        return any(forwarder.carries for forwarder in self._standing.values())

    def stand(self, name: str, endpoint: str, certificate: Path, port: int | None) -> int:
        """See to it that the deployment `name` is forwarded to, on `port` if that is free; on which port it is.

        Raises OSError when no port is free or the certificate cannot be read.
        """
        if name not in self._standing:
            forwarder = Forwarder(name, pinned_context(certificate), _listener(port))
            self._run(forwarder.listen())
            self._standing[name] = forwarder
        self._standing[name].endpoint = endpoint
        return self._standing[name].port

    def close_all_but(self, names: Collection[str]) -> None:
        """End the others, with their connections."""
        for name in self._standing.keys() - set(names):
            self._run(self._standing.pop(name).close())

    def stop_listening(self) -> None:
        """Make room for those of another process; connections go on."""
        for forwarder in self._standing.values():
            self._run(forwarder.stop_listening())

    def close(self) -> None:
        """End everything."""
        self.close_all_but(())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _listener(port: int | None) -> socket.socket:
    """On the port that is wanted, or on another when that is taken."""
    with contextlib.suppress(OSError):
        return socket.create_server((LOOPBACK, port or 0))
    return socket.create_server((LOOPBACK, 0))


def _allow_many_files() -> None:
    """A connection takes two, and systems start processes with room for as few as 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
