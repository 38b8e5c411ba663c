"""What Modal's runtime asks, from inside of a container, of whoever runs it.

Sources: the installed SDK (_container_entrypoint.py, _runtime/container_io_manager.py and task_lifecycle_manager.py,
experimental/flash_server.py). What is said in a call is numbered from 1 (_utils/function_utils.py).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

if TYPE_CHECKING:
    from .containers import Container

HEARTBEAT_S = 10.0
"""Heartbeats are answered after so long at the latest (the client waits for 15 s)."""


class RuntimeRpcs:
    """Of one container, which alone may call them. Called in the server's loop."""

    def __init__(self, container: "Container") -> None:
        self._container = container

    def ContainerHello(self, _: Empty) -> Empty:  # noqa: N802
        return Empty()

    async def ContainerHeartbeat(  # noqa: N802
        self, _: api_pb2.ContainerHeartbeatRequest
    ) -> api_pb2.ContainerHeartbeatResponse:
        """As soon as an input is to be cancelled, or after a while."""
        try:
            canceled = await asyncio.wait_for(self._container.work.canceled.get(), HEARTBEAT_S)
        except TimeoutError:
            return api_pb2.ContainerHeartbeatResponse()
        event = api_pb2.CancelInputEvent(input_ids=[canceled])
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=event)

    async def FunctionGetInputs(self, _: api_pb2.FunctionGetInputsRequest) -> api_pb2.FunctionGetInputsResponse:  # noqa: N802
        """The next call; or that it may go."""
        self._container.becomes_ready()
        call = await self._container.work.next_call()
        if call is None:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        item = api_pb2.FunctionGetInputsItem(input_id=call.input_id, input=call.input, function_call_id=call.id)
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:  # noqa: N802
        for output in request.outputs:
            self._container.work.finish(output)
        return Empty()

    async def FunctionCallGetDataIn(  # noqa: N802
        self, request: api_pb2.FunctionCallGetDataRequest
    ) -> AsyncIterator[api_pb2.DataChunk]:
        index = 0
        async for message in self._container.work.call(request.function_call_id).data_in():
            index += 1
            if index > request.last_index:
                yield api_pb2.DataChunk(data_format=api_pb2.DATA_FORMAT_ASGI, data=message, index=index)

    def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest) -> Empty:  # noqa: N802
        self._container.work.call(request.function_call_id).say(chunk.data for chunk in request.data_chunks)
        return Empty()

    def FunctionGetDynamicConcurrency(  # noqa: N802
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        """More than its target once there will be no other container."""
        most, target = request.max_concurrency, request.target_concurrency
        concurrency = most if self._container.function.scaler.is_at_its_limit else target
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=concurrency)

    def ContainerServerLifecycleReady(self, _: api_pb2.ContainerServerLifecycleReadyRequest) -> Empty:  # noqa: N802
        self._container.is_up = True
        return Empty()

    def ContainerStop(self, _: api_pb2.ContainerStopRequest) -> api_pb2.ContainerStopResponse:  # noqa: N802
        """It has found its web server dead, and takes no more."""
        self._container.retire()
        return api_pb2.ContainerStopResponse()

    def VolumeCommit(self, _: api_pb2.VolumeCommitRequest) -> api_pb2.VolumeCommitResponse:  # noqa: N802
        return api_pb2.VolumeCommitResponse()

    def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:  # noqa: N802
        """What it says of itself when it cannot even begin."""
        self._container.result = request.result
        return Empty()
