"""Modal's functions and the calls of them.

Sources: the installed SDK (_functions.py, _server.py). A function has an id, and a web function its URL, before it is
created; what was created runs once its app is published. A Server is a function too. With a list of GPUs there are as
many definitions, by rank, instead of one.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .autoscaler import Autoscaler
from .calls import Call
from .containers import KILLED, Container
from .server import not_found

Run = Callable[["Function"], Container]
"""Starts a container of a function."""


class Function:
    """One function of an app. `speed` is how many of the cloud's seconds pass in one of ours."""

    def __init__(self, id_: str, app_id: str, name: str, run: Run, speed: float) -> None:
        self.id = id_
        self.app_id = app_id
        self.name = name
        self.run = run
        self.speed = speed
        self.url = ""
        """Where it answers HTTP."""
        self.created = api_pb2.FunctionData()
        """Not in use before its app is published; empty before it is created."""
        self.choices: Sequence[api_pb2.Function] = ()
        """What is published, one for each GPU that will do, the preferred one first."""
        self.settings = api_pb2.AutoscalerSettings()
        """In force now."""
        self.scaler = Autoscaler(self)

    @property
    def published(self) -> api_pb2.Function | None:
        """Its first choice."""
        return self.choices[0] if self.choices else None

    @property
    def is_server(self) -> bool:
        return self.created.is_server

    @property
    def is_web(self) -> bool:
        return bool(self.created.webhook_config.type)

    @property
    def containers(self) -> Sequence[Container]:
        """That have not ended."""
        return self.scaler.containers

    @property
    def backlog(self) -> int:
        return len(self.scaler.waiting)

    @property
    def running(self) -> int:
        """Inputs in work."""
        return self.scaler.running

    @property
    def metadata(self) -> api_pb2.FunctionHandleMetadata:
        plain = [api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR]
        formats = [api_pb2.DATA_FORMAT_ASGI] if self.is_web else plain
        return api_pb2.FunctionHandleMetadata(
            function_name=self.name,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            definition_id=f"de-{self.id[3:]}",
            app_id=self.app_id,
            web_url="" if self.is_server else self.url,
            _experimental_flash_urls=[self.url] if self.is_server else [],
            supported_input_formats=formats,
            supported_output_formats=formats,
        )

    @property
    def data(self) -> api_pb2.FunctionData:
        """As it was created, and where it answers."""
        data = api_pb2.FunctionData()
        data.CopyFrom(self.created)
        data.web_url = self.metadata.web_url
        data.flash_service_urls.extend(self.metadata._experimental_flash_urls)
        return data

    def as_object(self) -> api_pb2.Object:
        """As in an app's layout."""
        return api_pb2.Object(object_id=self.id, function_handle_metadata=self.metadata)

    def publish(self) -> None:
        """What was created last is what runs from now on; containers of what was before end their work."""
        ranked = sorted(self.created.ranked_functions, key=lambda choice: choice.rank)
        self.choices = [choice.function for choice in ranked]
        self.settings.CopyFrom(self.created.autoscaler_settings)
        self.scaler.retire_all()
        self.scaler.settle()

    def override(self, settings: api_pb2.AutoscalerSettings) -> None:
        """Until it is published anew."""
        self.settings.MergeFrom(settings)
        self.scaler.settle()

    def stop(self) -> None:
        self.choices = ()
        self.scaler.stop(KILLED)

    def call(self, given: api_pb2.FunctionInput) -> Call:
        """With a value for an answer. Raises GRPCError where nothing is deployed."""
        return self.submit(Call(given))

    def submit(self, call: Call) -> Call:
        """A container is on its way for it. Raises GRPCError where nothing is deployed."""
        if self.published is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"the app of function {self.id} is not deployed")
        self.scaler.submit(call)
        return call


class Functions:
    """Called in the server's loop, under the cloud's lock.

    `check` raises GRPCError for what may not be created. `url_of` gives a function that answers HTTP its address.
    """

    def __init__(
        self,
        run: Run,
        speed: float,
        check: Callable[[api_pb2.FunctionCreateRequest], None],
        url_of: Callable[[Function], Awaitable[str]],
    ) -> None:
        self.created: list[api_pb2.FunctionCreateRequest] = []
        """As they came."""
        self._run = run
        self._speed = speed
        self._check = check
        self._url_of = url_of
        self._functions: dict[str, Function] = {}
        self._calls: dict[str, Call] = {}

    def get(self, id_: str) -> Function:
        """Raises GRPCError."""
        if id_ not in self._functions:
            raise not_found(f"Function {id_}")
        return self._functions[id_]

    async def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest) -> api_pb2.FunctionPrecreateResponse:  # noqa: N802
        id_ = request.existing_function_id or f"fu-{secrets.token_hex(11)}"
        if id_ not in self._functions:
            self._functions[id_] = Function(id_, request.app_id, request.function_name, self._run, self._speed)
        function = self.get(id_)
        if request.webhook_config.type:
            function.url = await self._url_of(function)
        return api_pb2.FunctionPrecreateResponse(function_id=id_, handle_metadata=function.metadata)

    async def FunctionCreate(self, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:  # noqa: N802
        self._check(request)
        self.created.append(request)
        function = self.get(request.existing_function_id)
        function.created = _data(request)
        if function.is_server:
            function.url = await self._url_of(function)
        return api_pb2.FunctionCreateResponse(
            function_id=function.id,
            handle_metadata=function.metadata,
            function=request.function,
            function_data=function.data,
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


def _data(request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionData:
    """What comes in two forms in one: without a list of GPUs there is one choice."""
    if request.HasField("function_data"):
        return request.function_data
    choice = api_pb2.FunctionData.RankedFunction(function=request.function)
    data = api_pb2.FunctionData(ranked_functions=[choice])
    for field, value in request.function.ListFields():
        if field.name not in data.DESCRIPTOR.fields_by_name:
            continue
        if isinstance(value, int | float | str):
            setattr(data, field.name, value)
        else:
            getattr(data, field.name).MergeFrom(value)
    return data
