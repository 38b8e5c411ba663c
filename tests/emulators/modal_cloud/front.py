"""What stands in front of Modal's RPCs: rules of misbehaviour, in gRPC's terms.

The statuses are those that the SDK turns into its own errors (modal/_grpc_client.py and exception.py, 1.6.4): it tries
UNAVAILABLE, INTERNAL and DEADLINE_EXCEEDED three times more, and waits for as long as a policy for retries says. That a
workspace over its limit answers RESOURCE_EXHAUSTED, and in which words: modal-client#3397.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from ..misbehaviour import Rule

CALLS: Mapping[str, str] = {
    **dict.fromkeys(("AppCreate", "FunctionPrecreate", "FunctionCreate", "AppPublish", "ImageGetOrCreate"), "create"),
    **dict.fromkeys(("AppList", "TaskList"), "list"),
    **dict.fromkeys(("AppGetOrCreate", "AppGetInfo", "AppGetLifecycle", "AppGetTags", "TaskGetInfo"), "get"),
    **dict.fromkeys(("FunctionGet", "FunctionGetById", "FunctionGetCurrentStats"), "get"),
    **dict.fromkeys(("FunctionGetSchedulingParams", "AppGetByDeploymentName"), "get"),
    **dict.fromkeys(("FunctionUpdateSchedulingParams", "AppSetTags"), "update"),
    **dict.fromkeys(("AppFetchLogs", "AppCountLogs", "AppGetLogs"), "logs"),
    **dict.fromkeys(("VolumeGetOrCreate", "VolumeList", "VolumeDelete"), "volumes"),
    **dict.fromkeys(("ClientHello", "WorkspaceNameLookup", "WebhookTokenCreate", "WebhookTokenDelete"), "account"),
    "AppStop": "delete",
    "WorkspaceBillingRates": "offers",
}
"""What a rule's `call` means here."""
INSTEAD: Mapping[str, tuple[Status, str]] = {
    "unavailable": (Status.UNAVAILABLE, "upstream connect error"),
    "server-error": (Status.INTERNAL, "internal server error"),
    "timeout": (Status.DEADLINE_EXCEEDED, "deadline exceeded"),
    "rate-limit": (Status.RESOURCE_EXHAUSTED, "rate limit exceeded"),
    "spend-limit": (Status.RESOURCE_EXHAUSTED, "workspace billing cycle spend limit reached"),
    "gpu-refused": (Status.INVALID_ARGUMENT, "this workspace has no access to the requested GPU type"),
    "lost-publish": (Status.UNAVAILABLE, "connection lost"),
    "rates-refused": (Status.PERMISSION_DENIED, "billing rates are for managers of the workspace"),
    "tokens-refused": (Status.PERMISSION_DENIED, "proxy tokens are for managers of the workspace"),
    "delete-500-works": (Status.INTERNAL, "internal server error"),
}
"""What is answered."""
BY_STATUS: Mapping[int, tuple[Status, str]] = {401: (Status.UNAUTHENTICATED, "Token ID is malformed or does not exist")}
"""What is answered instead, where a rule names that status of HTTP."""
ONLY: Mapping[str, str] = {
    "spend-limit": "FunctionCreate",
    "gpu-refused": "FunctionCreate",
    "lost-publish": "AppPublish",
    "rates-refused": "WorkspaceBillingRates",
    "tokens-refused": "WebhookTokenCreate",
}
"""The RPC that is, where it is not all that the rule's call means."""
WORDS = (
    *INSTEAD,
    *("slow-publish", "image-build-failed", "no-capacity", "crash-loop", "no-bearer"),
    *("list-lag", "delete-lag", "delete-204-stays"),
)
"""Of misbehaviour.WHATS: those, and what is taken where it happens."""
Take = Callable[..., Rule | None]


class Front:
    """Called in the server's loop, without the cloud's lock: it may wait. `take` is Misbehaviour.take, under it."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self.calls: list[str] = []
        """The names of all RPCs so far."""

    async def before(self, rpc: str, request: Any) -> GRPCError | None:
        """Raises GRPCError when nothing of it takes effect. What is returned is raised once it has taken effect."""
        self.calls.append(rpc)
        if rpc == "AppPublish" and (slow := self._take("slow-publish", call="create")):
            await asyncio.sleep(slow.seconds)
        words = (word for word in INSTEAD if ONLY.get(word, rpc) == rpc)
        rule = self._take(*words, call=CALLS.get(rpc, ""), gpu=gpus_of(request))
        return await _refusing(rule) if rule else None


async def _refusing(rule: Rule) -> GRPCError:
    """The error of one of INSTEAD. Raises it when that comes first."""
    policy = [] if rule.retry_after is None else [api_pb2.RPCRetryPolicy(retry_after_secs=rule.retry_after)]
    error = GRPCError(*BY_STATUS.get(rule.status or 0, INSTEAD[rule.do]), policy)
    if rule.do == "timeout":
        await asyncio.sleep(rule.seconds)
    if rule.when == "before":
        raise error
    return error


def choices_of(request: api_pb2.FunctionCreateRequest) -> list[api_pb2.Function]:
    """The function, once for each choice of GPUs, in their order."""
    ranked = sorted(request.function_data.ranked_functions, key=lambda one: one.rank)
    return [one.function for one in ranked] or [request.function]


def gpus_of(request: Any) -> str:
    """The types that a create asks for, one after the other."""
    if not isinstance(request, api_pb2.FunctionCreateRequest):
        return ""
    return ",".join(one.resources.gpu_config.gpu_type for one in choices_of(request))
