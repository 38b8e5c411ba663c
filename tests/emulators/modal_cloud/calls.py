"""The calls of functions: what goes in, what comes out, and what became of it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence

from modal_proto import api_pb2


class Call:
    """One input of a function. Made, and used, in the server's loop.

    What is said to it while it runs, and what it says, are messages: bytes in the format of the call. Only web
    requests have them.
    """

    def __init__(self, given: api_pb2.FunctionInput, messages: Sequence[bytes] = (), goodbye: bytes = b"") -> None:
        self.id = f"fc-{secrets.token_hex(11)}"
        self.input_id = f"in-{secrets.token_hex(11)}"
        self.input = given
        self.messages = messages
        """What the container is told once it has begun."""
        self.goodbye = goodbye
        """What it is told when nobody waits any more."""
        self.output: asyncio.Future[api_pb2.FunctionPutOutputsItem] = asyncio.get_running_loop().create_future()
        self.has_answered = False
        """Something has come out."""
        self._is_unwanted = asyncio.Event()
        self._came_out: asyncio.Queue[bytes | None] = asyncio.Queue()

    @property
    def may_begin_again(self) -> bool:
        """In another container when its own has ended, as web requests do for which somebody waits."""
        return bool(self.goodbye) and not (self.has_answered or self.output.done() or self._is_unwanted.is_set())

    def hang_up(self) -> None:
        """Nobody waits for it any more."""
        self._is_unwanted.set()

    def say(self, messages: Iterable[bytes]) -> None:
        """From the container."""
        for message in messages:
            self.has_answered = True
            self._came_out.put_nowait(message)

    async def next_message(self) -> bytes | None:
        """None when no more will come."""
        if self.output.done() and self._came_out.empty():
            return None
        return await self._came_out.get()

    async def data_in(self) -> AsyncIterator[bytes]:
        """All that is to be said to the container. It does not end: the runtime would only ask again."""
        for message in self.messages:
            yield message
        await self._is_unwanted.wait()
        yield self.goodbye
        await asyncio.Event().wait()

    def fail(self, result: api_pb2.GenericResult) -> None:
        """Unless it has ended."""
        self.end(api_pb2.FunctionPutOutputsItem(input_id=self.input_id, result=result))

    def end(self, output: api_pb2.FunctionPutOutputsItem) -> None:
        if not self.output.done():
            self.output.set_result(output)
            self._came_out.put_nowait(None)
