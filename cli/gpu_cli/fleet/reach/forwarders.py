"""The forwarders of all deployments, in an event loop in a thread of its own."""

import asyncio
import contextlib
import resource
import socket
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Self

from gpu_cli.fleet.reach.forwarder import Forwarder, Way

LOOPBACK = "127.0.0.1"
MOST_FILES = 65536


class Forwarders:
    """By name. Their thread keeps no process alive."""

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

    def stand(self, name: str, endpoint: str, way: Callable[[], Way], port: int | None) -> int:
        """See to it that `name` is forwarded to, on `port` if that is free; on which port it is.

        `way` is asked for one when `name` has none yet, and may raise. Raises OSError when no port is free.
        """
        if name not in self._standing:
            forwarder = Forwarder(way(), _listener(port))
            self._run(forwarder.listen())
            self._standing[name] = forwarder
        standing = self._standing[name]
        if standing.way.endpoint != endpoint:
            self._run(standing.way.lead_to(endpoint))
        return standing.port

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
