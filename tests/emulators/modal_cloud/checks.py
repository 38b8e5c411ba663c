"""What Modal refuses of a function, be the client of another opinion.

Sources: the pages "GPU acceleration", "Timeouts", "Scaling out" and "Input concurrency" of Modal's guide; for the
windows and the bounds of containers the checks of the installed SDK (_functions.py, _partial_function.py).
"""

from collections.abc import Callable, Mapping

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .front import choices_of
from .rates import GPUS

DAY_S = 86_400
MOST_INPUTS = 1000


def check(request: api_pb2.FunctionCreateRequest) -> None:
    """Raises GRPCError."""
    for function in choices_of(request):
        for is_wrong, complaint in RULES.items():
            if is_wrong(function):
                raise GRPCError(Status.INVALID_ARGUMENT, complaint.format(gpu=function.resources.gpu_config))


Wrong = Callable[[api_pb2.Function], bool]


def _has_an_unknown_gpu(function: api_pb2.Function) -> bool:
    gpu = function.resources.gpu_config
    return bool(gpu.count or gpu.gpu_type) and gpu.gpu_type not in GPUS


def _has_too_many_gpus(function: api_pb2.Function) -> bool:
    gpu = function.resources.gpu_config
    return gpu.gpu_type in GPUS and not 1 <= gpu.count <= GPUS[gpu.gpu_type][1]


def _has_a_strange_window(function: api_pb2.Function) -> bool:
    told = function.autoscaler_settings
    return told.HasField("scaledown_window") and not 2 <= told.scaledown_window <= 3600


def _has_more_than_its_most(function: api_pb2.Function) -> bool:
    told = function.autoscaler_settings
    return 0 < told.max_containers < told.min_containers


def _takes_too_many_inputs(function: api_pb2.Function) -> bool:
    most = function.max_concurrent_inputs
    return not function.is_server and (most > MOST_INPUTS or function.target_concurrent_inputs > most > 0)


RULES: Mapping[Wrong, str] = {
    _has_an_unknown_gpu: "unknown GPU type {gpu.gpu_type!r}",
    _has_too_many_gpus: "a container cannot have {gpu.count} GPUs of type {gpu.gpu_type}",
    lambda function: function.timeout_secs > DAY_S: "timeout must be 24 hours at most",
    lambda function: function.startup_timeout_secs > DAY_S: "startup_timeout must be 24 hours at most",
    _has_a_strange_window: "scaledown_window must be between 2 and 3600 seconds",
    _has_more_than_its_most: "min_containers cannot be more than max_containers",
    _takes_too_many_inputs: "max_inputs must be 1000 at most, and no less than target_inputs",
}
"""What each of them is told."""
