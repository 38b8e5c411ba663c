"""TCP ports of loopback that pass raw bytes on, as a host does it for the ports of a container.

Each side may end its half of a connection and go on reading. Where nothing listens behind a port, its connections are
reset.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

Target = Callable[[], int | None]
"""Answers the port of loopback behind it, None while there is none; asked for each connection, from another thread."""

Address: TypeAlias = tuple[str, int]
T = TypeVar("T")

PART_BYTES = 65_536
SETTLE_S = 0.02
"""A server that is closed while it accepts a connection forgets it (asyncio, Python 3.11)."""
LINGER_NOT = struct.pack("ii", 1, 0)


class TcpForwards:
    """The forwarded ports of one emulator, served by one thread from `start` to `stop`."""

    def __init__(self) -> None:
        self._servers: dict[Address, asyncio.Server] = {}
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-forwards", daemon=True)
        self._thread.start()

    def open(self, target: Target, address: Address = ("127.0.0.1", 0)) -> int:
        """A port that leads there, until it is closed; 0 is any free one. Raises OSError for one that is taken."""
        return self._done(self._open(target, address))

    def close(self, port: int, host: str = "127.0.0.1") -> None:
        """Nothing listens there any more; connections that are open go on. Again is no harm."""
        self._done(self._close((host, port)))

    def stop(self) -> None:
        """Closes all ports and resets all connections; returns when nothing is left of them."""
        self._done(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self, target: Target, address: Address) -> int:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(_forward(reader, writer, target()))
            self._connections[task] = writer
            task.add_done_callback(self._connections.pop)

        server = await asyncio.start_server(serve, *address)
        port: int = server.sockets[0].getsockname()[1]
        self._servers[address[0], port] = server
        return port

    async def _close(self, address: Address) -> None:
        server = self._servers.pop(address, None)
        if server:
            await asyncio.sleep(SETTLE_S)
            server.close()

    async def _end(self) -> None:
        await asyncio.sleep(SETTLE_S)
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in self._connections.values():
                _reset(writer)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int | None) -> None:
    writers = [writer]
    try:
        if port is None:
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(inner_writer)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        writers = _closed(writers)
    except OSError:
        return  # a side has left, or nothing listens
    finally:
        for left in writers:
            _reset(left)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(PART_BYTES):
        writer.write(part)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _closed(writers: list[asyncio.StreamWriter]) -> list[asyncio.StreamWriter]:
    """Says goodbye; none of them is left."""
    for writer in writers:
        writer.close()
    return []


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
