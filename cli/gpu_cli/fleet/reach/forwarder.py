"""From a port of loopback to an engine on a rented machine, byte for byte.

Clients speak plain HTTP to 127.0.0.1. How what they send gets to the engine, unread by anybody else, is a `Way`'s part.
"""

import asyncio
import contextlib
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

CONNECT_DEADLINE_S = 10.0
"""For all that it takes until the engine can be spoken to."""
HANG_UP_S = 2.0
"""How long a client that has its answer may go on sending: closed before, it could lose the answer (RFC 9112, 9.6)."""
PIECE_BYTES = 65536
BACKLOG = 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoAnswer(OSError):
    """The far side has ended a connection without a word."""


class Way(ABC):
    """From a forwarder to the far side. Used in one event loop."""

    def __init__(self) -> None:
        self.endpoint = ""
        """Where new connections go; it may move."""

    async def lead_to(self, endpoint: str) -> None:
        """From now on."""
        self.endpoint = endpoint

    @abstractmethod
    async def connect(self) -> Streams:
        """To the endpoint, once the far side has proven who it is. Raises OSError after `CONNECT_DEADLINE_S`."""

    @abstractmethod
    def why_not(self, error: OSError) -> str:
        """What came of a connection, for the client to read."""

    async def close(self) -> None:  # noqa: B027 - not every way holds anything
        """Let go of what it holds; its connections are closed before."""


class Forwarder:
    """One deployment's: a listener on loopback, and the connections that it carries. Used in one event loop."""

    def __init__(self, way: Way, listener: socket.socket) -> None:
        self.way = way
        self.port: int = listener.getsockname()[1]
        self._listener = listener
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
        await self.way.close()

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
            far_reader, far_writer = await self.way.connect()
        except OSError as error:
            writer.write(_bad_gateway(self.way.why_not(error)))
            return
        try:
            far_writer.write(first)
            await first_to_end(_pass_on(reader, far_writer), self._pass_back(far_reader, writer))
        finally:
            # At once: a client that has ended its side has hung up, and the engine should stop working for nobody.
            far_writer.transport.abort()

    async def _pass_back(self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As it comes, and no faster than the client takes it; why there is nothing, if there is nothing."""
        piece = b""
        with contextlib.suppress(OSError):
            piece = await far_reader.read(PIECE_BYTES)
        if not piece:
            writer.write(_bad_gateway(self.way.why_not(NoAnswer())))
        while piece:
            writer.write(piece)
            await writer.drain()
            piece = await far_reader.read(PIECE_BYTES)


async def _pass_on(reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter) -> None:
    """Until the client ends. What the far side takes no more is dropped: its last words may be on their way."""
    taken = True
    while piece := await reader.read(PIECE_BYTES):
        taken = taken and await _took(far_writer, piece)


async def _took(writer: asyncio.StreamWriter, piece: bytes) -> bool:
    try:
        writer.write(piece)
        await writer.drain()
    except OSError:
        return False
    return True


async def first_to_end(*works: Coroutine[Any, Any, object]) -> None:
    """All at once, until one has come to its end, be it a broken one."""
    tasks = [asyncio.ensure_future(work) for work in works]
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
