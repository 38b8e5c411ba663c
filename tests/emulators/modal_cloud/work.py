"""What one container works on: calls of its function, which it asks for, or requests to its Server."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from .calls import Call
from .logs import SYSTEM
from .server import not_found

if TYPE_CHECKING:
    from .containers import Container

HANG_UP_S = 0.5
"""How long a call may go on for nobody."""


class Work:
    """Of one container. Called in the server's loop."""

    def __init__(self, container: "Container") -> None:
        self.calls: dict[str, Call] = {}
        """By the ids of their inputs."""
        self.canceled: asyncio.Queue[str] = asyncio.Queue()
        """The ids of inputs that its runtime has to be told to end."""
        self.idle_since: float | None = None
        """By the loop's clock, once it is ready and has nothing to do."""
        self._container = container
        self._requests = 0
        self._asking: asyncio.Future[Call | None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def load(self) -> int:
        """Calls and requests."""
        return len(self.calls) + self._requests

    @property
    def is_asking(self) -> bool:
        """For a call."""
        return self._container.lives and self._asking is not None and not self._asking.done()

    def call(self, id_: str) -> Call:
        """Raises GRPCError for one that it does not work on."""
        found = next((call for call in self.calls.values() if call.id == id_), None)
        if found is None:
            raise not_found(f"Function call {id_}")
        return found

    async def next_call(self) -> Call | None:
        """None when there will be none."""
        if not self._container.lives:
            return None
        self._asking = asyncio.get_running_loop().create_future()
        self._container.function.scaler.settle()
        return await self._asking

    def take(self, call: Call) -> None:
        """It asks for one."""
        definition = self._container.definition
        self.idle_since = None
        self.calls[call.input_id] = call
        if definition.timeout_secs:
            loop = asyncio.get_running_loop()
            self._timers[call.input_id] = loop.call_later(definition.timeout_secs, self._time_out, call)
        if definition.single_use_containers:
            self._container.lives = False  # for others
        self._answer(call)

    def finish(self, output: api_pb2.FunctionPutOutputsItem) -> None:
        """One of its calls, if it still works on it: who is told to end may have ended already."""
        if timer := self._timers.pop(output.input_id, None):
            timer.cancel()
        if call := self.calls.pop(output.input_id, None):
            call.end(output)
        self.become_idle()

    def cancel(self, call: Call) -> None:
        """If it works on it: it hears that nobody waits, and if it goes on, that it has to end."""
        if call.input_id in self.calls:
            call.hang_up()
            asyncio.get_running_loop().call_later(HANG_UP_S, self._insist, call.input_id)

    def begin_request(self) -> None:
        self.idle_since = None
        self._requests += 1
        self._container.function.scaler.settle()

    def end_request(self) -> None:
        self._requests -= 1
        self.become_idle()

    def become_idle(self) -> None:
        """If it has nothing to do."""
        if self.load == 0:
            self.idle_since = asyncio.get_running_loop().time()
        self._container.function.scaler.settle()

    def end(self) -> None:
        """There will be no more."""
        self._answer(None)

    def abandon(self) -> Iterable[Call]:
        """Its container has ended: what it has not finished."""
        self.end()
        for timer in self._timers.values():
            timer.cancel()
        return self.calls.values()

    def _answer(self, call: Call | None) -> None:
        if self._asking and not self._asking.done():
            self._asking.set_result(call)

    def _insist(self, input_id: str) -> None:
        if input_id in self.calls:
            self.canceled.put_nowait(input_id)

    def _time_out(self, call: Call) -> None:
        text = f"Task's current input {call.input_id} hit its timeout of {self._container.definition.timeout_secs}s"
        self._container.say(text, SYSTEM)
        call.fail(api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT, exception=text))
        self.cancel(call)
