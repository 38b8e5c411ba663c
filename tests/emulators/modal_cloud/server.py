"""Modal's API on the wire: gRPC in a thread, with the messages of the installed SDK.

A service is any object with methods that are named as RPCs are. A method takes the request and gives the reply, a
coroutine that gives it, or an asynchronous generator of replies; it runs in the one loop of the server.
"""

import asyncio
import inspect
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2

from ..server import Reset

SERVICE = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
T = TypeVar("T")
Metadata = Mapping[str, Any]


def not_found(what: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, f"{what} not found")


Before = Callable[[str, Any], Awaitable[GRPCError | None]]
"""What has a look at each RPC (its name, its request) before it is served. Raises GRPCError when it is not to be; what
it returns is raised afterwards.
"""


async def nothing_before(_: str, __: Any) -> None:
    """Nobody has a look."""


Sees = Callable[[str, int], Callable[[], None]]
"""A witness of each RPC: its name, and the port that it came from (see Witness)."""


def nobody_sees(_: str, __: int) -> Callable[[], None]:
    """There is no witness."""
    return lambda: None


class Rpcs:
    """The services of one address. `admit` takes a call's metadata, and raises GRPCError for who may not."""

    def __init__(
        self,
        services: Sequence[object],
        admit: Callable[[Metadata], None],
        lock: threading.RLock,
        before: Before = nothing_before,
        sees: Sees = nobody_sees,
    ) -> None:
        self._services = services
        self._admit = admit
        self._lock = lock
        self._before = before
        self._sees = sees

    def __mapping__(self) -> dict[str, Handler]:
        """For grpclib. What no service has is refused."""
        handlers = {}
        for method in SERVICE.methods:
            served = (getattr(service, method.name) for service in self._services if hasattr(service, method.name))
            cardinality = Cardinality.UNARY_STREAM if method.server_streaming else Cardinality.UNARY_UNARY
            classes = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            answer = self._answering(method.name, next(served, _refuse))
            handlers[f"/{SERVICE.full_name}/{method.name}"] = Handler(answer, cardinality, *classes)
        return handlers

    def _answering(
        self, rpc: str, serve: Callable[[Any], Any]
    ) -> Callable[[Stream[Any, Any]], Coroutine[Any, Any, None]]:
        async def answer(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            assert stream.metadata is not None
            self._admit(stream.metadata)
            with _lost():
                done = self._sees(rpc, _port_of(stream))
            afterwards = await self._before(rpc, request)
            with self._lock:
                answered = serve(request)
            if inspect.isasyncgen(answered):
                with _lost():
                    done()
                async for reply in answered:
                    await stream.send_message(reply)
                return
            reply = await answered if inspect.isawaitable(answered) else answered
            with _lost():
                done()
            if afterwards:
                raise afterwards
            await stream.send_message(reply)

        return answer


def _port_of(stream: Stream[Any, Any]) -> int:
    """0 for a client at a socket of the file system."""
    address = stream.peer.addr() if stream.peer else None
    return int(address[1]) if isinstance(address, tuple) else 0


@contextmanager
def _lost() -> Iterator[None]:
    """What a witness keeps from its client ends as a connection does that is cut."""
    try:
        yield
    except Reset:
        raise GRPCError(Status.UNAVAILABLE, "connection lost") from None


def _refuse(request: Any) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, f"{type(request).__name__} is not emulated")


class RpcServer:
    """A loop in a thread, and what is served there."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="grpc", daemon=True)
        self._servers: list[Server] = []

    def start(self) -> None:
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In the loop; from any other thread."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return done.result()

    async def listen(self, rpcs: Rpcs) -> int:
        """The port of loopback where they are served from now on."""
        server = Server([rpcs], status_details_codec=custom_detail_codec)
        # Of a socket that says no protocol asyncio does not know that small answers must not wait for acknowledgements.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        await server.start(sock=listening)
        self._servers.append(server)
        return int(listening.getsockname()[1])

    async def listen_at(self, rpcs: Rpcs, path: Path) -> Server:
        """The server, at a socket of the file system; whoever asked closes it."""
        server = Server([rpcs])
        await server.start(path=str(path))
        return server

    def stop(self) -> None:
        for server in self._servers:
            self.run(_closed(server))
        self.run(_ended())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _closed(server: Server) -> None:
    server.close()
    await server.wait_closed()


async def _ended() -> None:
    """All that still runs in the loop is told to end, and has ended; who is still connected is so no more."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    for transport in [*loop._transports.values()]:  # type: ignore[attr-defined]  # grpclib's server leaves them open
        transport.abort()
    await loop.shutdown_default_executor()
