"""Modal's apps: made, published under a name, stopped for good.

Sources: the installed SDK (runner.py, app.py). A name that is published again is the same app; one whose app was
stopped is free, and what is published under it is another app (recordings of the SDK against Modal's own test server).
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .functions import Functions
from .server import not_found


@dataclass
class App:
    """One app. It has a name, and may be called, once it is deployed."""

    id: str
    state: int
    tags: dict[str, str]
    name: str = ""
    commit: api_pb2.CommitInfo | None = None
    """What the client has told of the repository that it was deployed from."""
    function_ids: dict[str, str] = field(default_factory=dict)

    @property
    def is_deployed(self) -> bool:
        return self.state == api_pb2.APP_STATE_DEPLOYED


class Apps:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._apps: dict[str, App] = {}

    def deployed(self) -> Iterator[App]:
        return (app for app in self._apps.values() if app.is_deployed)

    def AppGetByDeploymentName(  # noqa: N802
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        """Without an id where there is none: that is no error."""
        app = self._named(request.name)
        return api_pb2.AppGetByDeploymentNameResponse(app_id=app.id if app else "", environment_name="main")

    def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:  # noqa: N802
        """Of a lookup: nothing is made."""
        app = self._named(request.app_name)
        if app is None or request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise not_found(f"App '{request.app_name}'")
        return api_pb2.AppGetOrCreateResponse(app_id=app.id)

    def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:  # noqa: N802
        app = App(f"ap-{secrets.token_hex(11)}", request.app_state, dict(request.tags))
        self._apps[app.id] = app
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=f"https://modal.com/apps/{app.id}")

    def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:  # noqa: N802
        function_ids = self._get(request.app_id).function_ids
        objects = [self._functions.get(id_).as_object() for id_ in function_ids.values()]
        return api_pb2.AppGetLayoutResponse(
            app_layout=api_pb2.AppLayout(objects=objects, function_ids=function_ids),
        )

    def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest) -> Empty:  # noqa: N802
        self._get(request.app_id)
        return Empty()

    def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:  # noqa: N802
        app = self._get(request.app_id)
        if app.state == api_pb2.APP_STATE_STOPPED:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped")
        app.name, app.state, app.tags = request.name, request.app_state, dict(request.tags)
        app.commit = request.commit_info if request.HasField("commit_info") else None
        app.function_ids = dict(request.function_ids)
        for id_ in app.function_ids.values():
            self._functions.get(id_).publish()
        url = f"https://modal.com/apps/emulated/main/deployed/{app.name}"
        return api_pb2.AppPublishResponse(url=url, deployed_at=time.time())

    def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:  # noqa: N802
        """Ends only what has not been deployed."""
        if not self._get(request.app_id).is_deployed:
            self._stop(self._get(request.app_id))
        return Empty()

    def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:  # noqa: N802
        self._stop(self._get(request.app_id))
        return Empty()

    def _stop(self, app: App) -> None:
        app.state = api_pb2.APP_STATE_STOPPED
        for id_ in app.function_ids.values():
            self._functions.get(id_).stop()

    def _get(self, id_: str) -> App:
        if id_ not in self._apps:
            raise not_found(f"App {id_}")
        return self._apps[id_]

    def _named(self, name: str) -> App | None:
        return next((app for app in self.deployed() if app.name == name), None)
