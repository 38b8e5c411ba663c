"""Modal's functions as others see them: found by name, how busy they are, and how they are scaled.

Sources: the installed SDK (_functions.py, _server.py). What is changed while they run lasts until the next deployment.
"""

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .apps import Apps
from .functions import Function, Functions
from .server import not_found

DEFAULT_SCALEDOWN_S = 60


class Scheduling:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, apps: Apps, functions: Functions) -> None:
        self._apps = apps
        self._functions = functions

    def FunctionGet(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:  # noqa: N802
        app = self._apps.named(request.app_name, request.environment_name)
        if app is None:
            raise not_found(f"App '{request.app_name}'")
        if request.object_tag not in app.function_ids:
            raise not_found(f"Function '{request.object_tag}' of app '{request.app_name}'")
        function = self._functions.get(app.function_ids[request.object_tag])
        return api_pb2.FunctionGetResponse(
            function_id=function.id, handle_metadata=function.metadata, function=function.data
        )

    def FunctionGetById(self, request: api_pb2.FunctionGetByIdRequest) -> api_pb2.FunctionGetByIdResponse:  # noqa: N802
        function = self._functions.get(request.function_id)
        return api_pb2.FunctionGetByIdResponse(function=function.data, handle_metadata=function.metadata)

    def FunctionGetCurrentStats(self, request: api_pb2.FunctionGetCurrentStatsRequest) -> api_pb2.FunctionStats:  # noqa: N802
        function = self._functions.get(request.function_id)
        return api_pb2.FunctionStats(
            backlog=function.backlog,
            num_total_tasks=len(function.containers),
            num_running_inputs=function.running,
            input_headroom=_headroom(function),
        )

    def FunctionGetSchedulingParams(  # noqa: N802
        self, request: api_pb2.FunctionGetSchedulingParamsRequest
    ) -> api_pb2.FunctionGetSchedulingParamsResponse:
        settings = in_force(self._functions.get(request.function_id))
        configuration = api_pb2.AutoscalerConfiguration(settings=settings)
        return api_pb2.FunctionGetSchedulingParamsResponse(autoscaler_configuration=configuration)

    def FunctionUpdateSchedulingParams(  # noqa: N802
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        function, changed = self._functions.get(request.function_id), request.settings
        if changed.HasField("scaledown_window") and not 2 <= changed.scaledown_window <= 3600:
            raise GRPCError(Status.INVALID_ARGUMENT, "scaledown_window must be between 2 and 3600")
        function.override(changed)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=in_force(function))


def in_force(function: Function) -> api_pb2.AutoscalerSettings:
    """With what holds where nothing was said."""
    settings = api_pb2.AutoscalerSettings(scaledown_window=DEFAULT_SCALEDOWN_S)
    settings.MergeFrom(function.settings)
    return settings


def _headroom(function: Function) -> int:
    """How many inputs more the containers that run could take."""
    each = function.published.max_concurrent_inputs if function.published else 0
    return max(0, len(function.containers) * (each or 1) - function.running)
