"""A workspace of Modal whose apps say whatever a test has them say: states, containers and logs that take long to get,
or that cannot be had, from an account that works.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from grpclib import GRPCError, Status
from modal_proto import api_pb2
from scripted_modal import ScriptedModal

from gpu_providers.modal_cloud.apps import Apps
from gpu_providers.modal_cloud.boot import Crashes
from gpu_providers.modal_cloud.rates import LISTED
from gpu_providers.modal_cloud.session import Session

OURS = {"gpu-cli.name": "llama", "gpu-cli.gpu": "H100", "gpu-cli.price": "4.395200", "gpu-cli.max_containers": "2"}
DEPLOYED, STOPPING, STOPPED = api_pb2.APP_STATE_DEPLOYED, api_pb2.APP_STATE_STOPPING, api_pb2.APP_STATE_STOPPED
INITIALIZING, DISABLED = api_pb2.APP_STATE_INITIALIZING, api_pb2.APP_STATE_DISABLED
STDOUT, STDERR, SYSTEM = (
    api_pb2.FILE_DESCRIPTOR_STDOUT,
    api_pb2.FILE_DESCRIPTOR_STDERR,
    api_pb2.FILE_DESCRIPTOR_INFO,
)


def container(id_: str = "ta-1", gpu: str = "H100", count: int = 1, *, runs: bool = True) -> api_pb2.TaskInfo:
    """As Modal tells of it; one that does not run yet waits for a card."""
    config = api_pb2.GPUConfig(gpu_type=gpu, count=count)
    return api_pb2.TaskInfo(id=id_, enqueued_at=time.time(), started_at=time.time() * runs, gpu_config=config)


@dataclass
class ScriptedApp:
    """One app with one web function."""

    name: str = "gpu-test-1"
    number: int = 1
    state: int = DEPLOYED
    tags: dict[str, str] = field(default_factory=lambda: dict(OURS))
    containers: list[api_pb2.TaskInfo] = field(default_factory=list)
    settings: api_pb2.AutoscalerSettings = field(
        default_factory=lambda: api_pb2.AutoscalerSettings(scaledown_window=900, max_containers=2)
    )
    requests: int = 0
    written: list[tuple[float, str, int, str]] = field(default_factory=list)
    """Of each entry of its log: when, what, to which stream, by which container."""

    @property
    def id(self) -> str:
        return f"ap-{self.number:022}"

    @property
    def function_id(self) -> str:
        return f"fu-{self.number:022}"

    @property
    def metadata(self) -> api_pb2.AppHandleMetadata:
        lifecycle = api_pb2.AppLifecycle(app_state=self.state, created_at=1_760_000_000 + self.number)
        functions = {"serve": self.function_id} if self.state != INITIALIZING else {}
        return api_pb2.AppHandleMetadata(description=self.name, lifecycle=lifecycle, functions=functions)

    def writes(self, *texts: str, ago_s: float = 0.0, source: int = STDOUT, task_id: str = "ta-1") -> None:
        """More of its log."""
        self.written += [(time.time() - ago_s, text, source, task_id) for text in texts]

    def entries(self, request: Any) -> list[api_pb2.TaskLogsBatch]:
        return [
            api_pb2.TaskLogsBatch(
                task_id=task_id,
                items=[api_pb2.TaskLogs(data=text, timestamp_ns=int(at * 1e9), file_descriptor=source)],
            )
            for at, text, source, task_id in sorted(self.written, key=lambda entry: entry[0])
            if request.since.ToNanoseconds() <= int(at * 1e9) < request.until.ToNanoseconds()
            and request.search_text in text
        ]


class ScriptedWorkspace:
    """Some apps. An RPC that is named in `refused` is refused like that, and one in `refused_for` for that app."""

    def __init__(self, *apps: ScriptedApp) -> None:
        self.apps = {app.id: app for app in apps}
        self.refused: dict[str, Status] = {}
        self.refused_for: dict[tuple[str, str], Status] = {}
        self.calls: list[str] = []
        self.stopped: list[str] = []

    @contextmanager
    def asked(self, *, look_every_s: float = 0.0) -> Iterator[Apps]:
        """By our side."""
        answers = {name: self._answering(name) for name in dir(self) if name[0].isupper()}
        with ScriptedModal(**answers) as server, closing(Session(server.environ)) as session:
            yield Apps(session, Crashes(look_every_s), lambda: LISTED)

    def _answering(self, rpc: str) -> Callable[[Any], Any]:
        def answer(request: Any) -> Any:
            self.calls.append(rpc)
            status = self.refused.get(rpc) or self.refused_for.get((rpc, getattr(request, "app_id", "")))
            if status:
                raise GRPCError(status, f"{rpc} is refused")
            return getattr(self, rpc)(request)

        return answer

    def _app(self, app_id: str) -> ScriptedApp:
        if app_id not in self.apps:
            raise GRPCError(Status.NOT_FOUND, f"App {app_id} not found")
        return self.apps[app_id]

    def _all_containers(self) -> Iterable[tuple[ScriptedApp, api_pb2.TaskInfo]]:
        return ((app, one) for app in self.apps.values() for one in app.containers)

    def EnvironmentGetOrCreate(self, _: Any) -> api_pb2.EnvironmentGetOrCreateResponse:  # noqa: N802
        metadata = api_pb2.EnvironmentMetadata(name="main")
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    def AppGetOrCreate(self, request: Any) -> api_pb2.AppGetOrCreateResponse:  # noqa: N802
        by_name = {app.name: app for app in self.apps.values()}
        app = by_name.get(request.app_name) or self._app(request.app_name)
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=app.metadata)

    def AppGetInfo(self, request: Any) -> api_pb2.AppGetInfoResponse:  # noqa: N802
        return api_pb2.AppGetInfoResponse(info=self._app(request.app_id).metadata)

    def AppGetTags(self, request: Any) -> api_pb2.AppGetTagsResponse:  # noqa: N802
        return api_pb2.AppGetTagsResponse(tags=self._app(request.app_id).tags)

    def AppStop(self, request: Any) -> Empty:  # noqa: N802
        self.stopped.append(request.app_id)
        self._app(request.app_id).state = STOPPED
        return Empty()

    def AppList(self, _: Any) -> api_pb2.AppListResponse:  # noqa: N802
        """As the real one: an app that is on its way has no name yet."""
        items = [
            api_pb2.AppListResponse.AppListItem(
                app_id=app.id,
                name=app.name if app.state != INITIALIZING else "",
                description=app.name,
                state=app.state,
                metadata=app.metadata,
            )
            for app in self.apps.values()
        ]
        return api_pb2.AppListResponse(apps=items)

    def TaskList(self, request: Any) -> api_pb2.TaskListResponse:  # noqa: N802
        tasks = [
            api_pb2.TaskStats(task_id=one.id, app_id=app.id, enqueued_at=one.enqueued_at, started_at=one.started_at)
            for app, one in self._all_containers()
            if app.id == request.app_id
        ]
        return api_pb2.TaskListResponse(tasks=tasks)

    def TaskGetInfo(self, request: Any) -> api_pb2.TaskGetInfoResponse:  # noqa: N802
        app, info = next(both for both in self._all_containers() if both[1].id == request.task_id)
        return api_pb2.TaskGetInfoResponse(app_id=app.id, info=info)

    def FunctionGetById(self, _: Any) -> api_pb2.FunctionGetByIdResponse:  # noqa: N802
        metadata = api_pb2.FunctionHandleMetadata(
            function_name="serve", definition_id="de-1", web_url="https://x--gpu-test-1-serve.modal.run/"
        )
        data = api_pb2.FunctionData(ranked_functions=[api_pb2.FunctionData.RankedFunction()])
        return api_pb2.FunctionGetByIdResponse(function=data, handle_metadata=metadata)

    def FunctionGetCurrentStats(self, request: Any) -> api_pb2.FunctionStats:  # noqa: N802
        app = self._of_function(request)
        return api_pb2.FunctionStats(num_total_tasks=len(app.containers), num_running_inputs=app.requests)

    def FunctionGetSchedulingParams(self, request: Any) -> api_pb2.FunctionGetSchedulingParamsResponse:  # noqa: N802
        configuration = api_pb2.AutoscalerConfiguration(settings=self._of_function(request).settings)
        return api_pb2.FunctionGetSchedulingParamsResponse(autoscaler_configuration=configuration)

    def AppCountLogs(self, request: Any) -> api_pb2.AppCountLogsResponse:  # noqa: N802
        buckets: Counter[int] = Counter()
        for batch in self._app(request.app_id).entries(request):
            seconds = batch.items[0].timestamp_ns // 10**9
            buckets[seconds - seconds % request.bucket_secs] += 1
        told = [_bucket(at, count) for at, count in sorted(buckets.items())]
        return api_pb2.AppCountLogsResponse(buckets=told)

    def AppFetchLogs(self, request: Any) -> api_pb2.AppFetchLogsResponse:  # noqa: N802
        found = self._app(request.app_id).entries(request)
        return api_pb2.AppFetchLogsResponse(batches=found[-request.limit :])

    def _of_function(self, request: Any) -> ScriptedApp:
        return next(app for app in self.apps.values() if app.function_id == request.function_id)


def _bucket(at: int, count: int) -> api_pb2.AppCountLogsResponse.LogBucket:
    return api_pb2.AppCountLogsResponse.LogBucket(bucket_start_at=Timestamp(seconds=at), stdout_logs=count)
