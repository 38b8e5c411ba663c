"""Modal's functions and the calls of them.

Sources: the installed SDK (_functions.py). A function has an id before it is created, and what was created runs once
its app is published. Calls wait until a container fetches them.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .containers import Container
from .server import not_found


@dataclass
class Call:
    """One input of a function, and what became of it."""

    id: str
    input_id: str
    input: api_pb2.FunctionInput
    output: "asyncio.Future[api_pb2.FunctionPutOutputsItem]"

    def fail(self, result: api_pb2.GenericResult) -> None:
        """Unless it has ended."""
        self.end(api_pb2.FunctionPutOutputsItem(input_id=self.input_id, result=result))

    def end(self, output: api_pb2.FunctionPutOutputsItem) -> None:
        if not self.output.done():
            self.output.set_result(output)


@dataclass
class Function:
    """One function of an app, with at most one container."""

    id: str
    app_id: str
    name: str
    run: Callable[["Function"], Container]
    """Starts a container of it."""
    created: api_pb2.Function | None = None
    """Not in use before its app is published."""
    published: api_pb2.Function | None = None
    waiting: "asyncio.Queue[Call]" = field(default_factory=asyncio.Queue)
    container: Container | None = None

    @property
    def metadata(self) -> api_pb2.FunctionHandleMetadata:
        return api_pb2.FunctionHandleMetadata(
            function_name=self.name,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            definition_id=f"de-{self.id[3:]}",
            app_id=self.app_id,
            supported_input_formats=[api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR],
            supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR],
        )

    def as_object(self) -> api_pb2.Object:
        """As in an app's layout."""
        return api_pb2.Object(object_id=self.id, function_handle_metadata=self.metadata)

    def publish(self) -> None:
        """What was created last is what runs from now on."""
        self.published = self.created
        self._end_container()

    def stop(self) -> None:
        self.published = None
        self._end_container()

    def call(self, given: api_pb2.FunctionInput) -> Call:
        """A container is on its way for it. Raises GRPCError where nothing is deployed."""
        if self.published is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"the app of function {self.id} is not deployed")
        id_ = f"fc-{secrets.token_hex(11)}"
        call = Call(id_, f"in-{secrets.token_hex(11)}", given, asyncio.get_running_loop().create_future())
        self.waiting.put_nowait(call)
        if self.container is None or not self.container.lives:
            self.container = self.run(self)
        return call

    def give_up(self, result: api_pb2.GenericResult) -> None:
        """Its container cannot even begin: whoever waits is told why."""
        while not self.waiting.empty():
            self.waiting.get_nowait().fail(result)

    def _end_container(self) -> None:
        if self.container:
            self.container.stop()


class Functions:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, run: Callable[[Function], Container]) -> None:
        self._run = run
        self._functions: dict[str, Function] = {}
        self._calls: dict[str, Call] = {}

    def get(self, id_: str) -> Function:
        """Raises GRPCError."""
        if id_ not in self._functions:
            raise not_found(f"Function {id_}")
        return self._functions[id_]

    def close(self) -> None:
        for function in self._functions.values():
            function.stop()

    def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest) -> api_pb2.FunctionPrecreateResponse:  # noqa: N802
        id_ = request.existing_function_id or f"fu-{secrets.token_hex(11)}"
        if id_ not in self._functions:
            self._functions[id_] = Function(id_, request.app_id, request.function_name, self._run)
        return api_pb2.FunctionPrecreateResponse(function_id=id_, handle_metadata=self.get(id_).metadata)

    def FunctionCreate(self, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:  # noqa: N802
        function = self.get(request.existing_function_id)
        function.created = request.function
        ranked = api_pb2.FunctionData.RankedFunction(function=request.function)
        return api_pb2.FunctionCreateResponse(
            function_id=function.id,
            handle_metadata=function.metadata,
            function=request.function,
            function_data=api_pb2.FunctionData(function_name=function.name, ranked_functions=[ranked]),
        )

    def FunctionMap(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:  # noqa: N802
        """A call of one input, which comes with it."""
        call = self.get(request.function_id).call(request.pipelined_inputs[0].input)
        self._calls[call.id] = call
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=[api_pb2.FunctionPutInputsResponseItem(idx=0, input_id=call.input_id)],
        )

    async def FunctionGetOutputs(  # noqa: N802
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        """Waits for it; nothing after the time that the client is ready to wait."""
        if request.function_call_id not in self._calls:
            raise not_found(f"Function call {request.function_call_id}")
        call = self._calls[request.function_call_id]
        await asyncio.wait([call.output], timeout=request.timeout)
        if not call.output.done():
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        ended = call.output.result()
        item = api_pb2.FunctionGetOutputsItem(
            result=ended.result, input_id=call.input_id, data_format=ended.data_format
        )
        return api_pb2.FunctionGetOutputsResponse(outputs=[item])
