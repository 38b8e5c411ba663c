"""Modal's apps: made, published under a name, stopped for good.

Sources: the installed SDK (runner.py, app.py, _environments.py, cli/app.py). A name that is published again is the same
app; one whose app was stopped is free, and what is published under it is another app (recordings of the SDK against
Modal's own test server). By its id an app is found in any state, by its name only while it is deployed.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from ..cloud import Cloud
from .account import WORKSPACE, Account
from .functions import Function, Functions
from .logs import Logs
from .server import not_found


@dataclass
class App:
    """One app. It has a name, and may be called, once it is deployed. Times are seconds since 1970."""

    id: str
    environment: str
    state: int
    """Until it is stopped."""
    description: str
    tags: dict[str, str]
    created_at: float
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    stopped_for_good_at: float = 0.0
    """From `stopped_at` until then it is being stopped."""
    version: int = 0
    name: str = ""
    commit: api_pb2.CommitInfo | None = None
    """What the client has told of the repository that it was deployed from."""
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)

    @property
    def is_deployed(self) -> bool:
        return self.state == api_pb2.APP_STATE_DEPLOYED and not self.stopped_at

    def state_at(self, now: float, *, is_empty: bool) -> int:
        """`is_empty`: none of its containers is left."""
        if not self.stopped_at or now < self.stopped_at:
            return self.state
        is_over = is_empty and now >= self.stopped_for_good_at
        return api_pb2.APP_STATE_STOPPED if is_over else api_pb2.APP_STATE_STOPPING

    def lifecycle(self, now: float, *, is_empty: bool) -> api_pb2.AppLifecycle:
        return api_pb2.AppLifecycle(
            app_state=self.state_at(now, is_empty=is_empty),
            created_at=self.created_at,
            created_by=WORKSPACE,
            deployed_at=self.deployed_at,
            deployed_by=WORKSPACE if self.deployed_at else "",
            version=self.version,
            stopped_at=self.stopped_at,
            stopped_by=WORKSPACE if self.stopped_at else "",
        )


class Apps:
    """Called in the server's loop, under the cloud's lock. An app is on the bill, for nothing, until it is stopped."""

    def __init__(self, cloud: Cloud, account: Account, functions: Functions, logs: Logs) -> None:
        self._cloud = cloud
        self._account = account
        self._functions = functions
        self._logs = logs
        self._apps: dict[str, App] = {}

    def __iter__(self) -> Iterator[App]:
        """All of them, also those that are stopped."""
        return iter(self._apps.values())

    def deployed(self) -> Iterator[App]:
        return (app for app in self if app.is_deployed)

    def get(self, id_: str) -> App:
        """Raises GRPCError."""
        if id_ not in self._apps:
            raise not_found(f"App {id_}")
        return self._apps[id_]

    def named(self, name: str, environment: str) -> App | None:
        """The one that is deployed under that name. Raises GRPCError for an environment that is not there."""
        environment = self._account.environment(environment)
        return next((app for app in self.deployed() if (app.name, app.environment) == (name, environment)), None)

    def functions_of(self, app: App) -> list[Function]:
        return [self._functions.get(id_) for id_ in app.function_ids.values()]

    # Found

    def AppGetByDeploymentName(  # noqa: N802
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        """Without an id where there is none: that is no error."""
        app = self.named(request.name, request.environment_name)
        environment = self._account.environment(request.environment_name)
        return api_pb2.AppGetByDeploymentNameResponse(app_id=app.id if app else "", environment_name=environment)

    def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:  # noqa: N802
        """Of a lookup, by name or by id: nothing is made."""
        app = self._apps.get(request.app_name) or self.named(request.app_name, request.environment_name)
        if app is None or request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise not_found(f"App '{request.app_name}'")
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=self._metadata(app))

    def AppList(self, request: api_pb2.AppListRequest) -> api_pb2.AppListResponse:  # noqa: N802
        """With those that are stopped."""
        environment = self._account.environment(request.environment_name)
        lag = self._cloud.misbehaviour.take("list-lag", call="list")
        as_of = self._cloud.clock.now() - (lag.seconds if lag else 0.0)
        there = [app for app in self if app.environment == environment and app.created_at <= as_of]
        return api_pb2.AppListResponse(apps=[self._listed(app, as_of) for app in there])

    def AppGetInfo(self, request: api_pb2.AppGetInfoRequest) -> api_pb2.AppGetInfoResponse:  # noqa: N802
        return api_pb2.AppGetInfoResponse(info=self._metadata(self.get(request.app_id)))

    def AppGetLifecycle(self, request: api_pb2.AppGetLifecycleRequest) -> api_pb2.AppGetLifecycleResponse:  # noqa: N802
        return api_pb2.AppGetLifecycleResponse(lifecycle=self._lifecycle(self.get(request.app_id)))

    def AppGetTags(self, request: api_pb2.AppGetTagsRequest) -> api_pb2.AppGetTagsResponse:  # noqa: N802
        return api_pb2.AppGetTagsResponse(tags=self.get(request.app_id).tags)

    def AppSetTags(self, request: api_pb2.AppSetTagsRequest) -> Empty:  # noqa: N802
        self.get(request.app_id).tags = dict(request.tags)
        return Empty()

    def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:  # noqa: N802
        app = self.get(request.app_id)
        objects = [function.as_object() for function in self.functions_of(app)]
        layout = api_pb2.AppLayout(objects=objects, function_ids=app.function_ids, class_ids=app.class_ids)
        return api_pb2.AppGetLayoutResponse(app_layout=layout)

    # Made, published, stopped

    def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:  # noqa: N802
        app = App(
            id=f"ap-{secrets.token_hex(11)}",
            environment=self._account.environment(request.environment_name),
            state=request.app_state,
            description=request.description,
            tags=dict(request.tags),
            created_at=self._cloud.clock.now(),
        )
        self._apps[app.id] = app
        self._cloud.billing.start(app.id, app.description, 0.0)
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=f"https://modal.com/apps/{app.id}")

    def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest) -> Empty:  # noqa: N802
        self.get(request.app_id)
        return Empty()

    def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:  # noqa: N802
        app = self.get(request.app_id)
        if app.stopped_at:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped")
        dropped = set(app.function_ids.values()) - set(request.function_ids.values())
        app.name, app.state, app.tags = request.name, request.app_state, dict(request.tags)
        app.deployed_at, app.version = self._cloud.clock.now(), app.version + 1
        app.commit = request.commit_info if request.HasField("commit_info") else None
        app.function_ids, app.class_ids = dict(request.function_ids), dict(request.class_ids)
        for id_ in dropped:
            self._functions.get(id_).stop()
        for function in self.functions_of(app):
            function.publish()
        url = f"https://modal.com/apps/{WORKSPACE}/{app.environment}/deployed/{app.name}"
        return api_pb2.AppPublishResponse(url=url, deployed_at=app.deployed_at)

    def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:  # noqa: N802
        """Ends only what has not been deployed."""
        app = self.get(request.app_id)
        if not app.is_deployed:
            self._stop(app)
        return Empty()

    def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:  # noqa: N802
        """Of what is stopped already: nothing happens."""
        app = self.get(request.app_id)
        if self._cloud.misbehaviour.take("delete-204-stays", call="delete") is None:
            lag = self._cloud.misbehaviour.take("delete-lag", call="delete")
            self._stop(app, lag.seconds if lag else 0.0)
        return Empty()

    def _stop(self, app: App, takes_s: float = 0.0) -> None:
        if app.stopped_at:
            return
        app.stopped_at = self._cloud.clock.now()
        app.stopped_for_good_at = app.stopped_at + takes_s
        for function in self.functions_of(app):
            function.stop()
        self._logs.finish(app.id)
        self._cloud.billing.stop(app.id)

    # Told

    def _containers(self, app: App) -> int:
        """How many are left."""
        return sum(len(function.containers) for function in self.functions_of(app))

    def _lifecycle(self, app: App) -> api_pb2.AppLifecycle:
        return app.lifecycle(self._cloud.clock.now(), is_empty=not self._containers(app))

    def _metadata(self, app: App) -> api_pb2.AppHandleMetadata:
        kinds: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for function in self.functions_of(app):
            kinds[function.is_server][function.name] = function.id
        return api_pb2.AppHandleMetadata(
            app_id=app.id,
            description=app.description,
            environment_name=app.environment,
            lifecycle=self._lifecycle(app),
            functions=kinds[False],
            servers=kinds[True],
        )

    def _listed(self, app: App, as_of: float) -> api_pb2.AppListResponse.AppListItem:
        """As it was then."""
        return api_pb2.AppListResponse.AppListItem(
            app_id=app.id,
            name=app.name,
            description=app.description,
            state=app.state_at(as_of, is_empty=not self._containers(app)),
            created_at=app.created_at,
            stopped_at=app.stopped_at if app.stopped_at <= as_of else 0.0,
            n_running_tasks=self._containers(app),
            metadata=self._metadata(app),
        )
