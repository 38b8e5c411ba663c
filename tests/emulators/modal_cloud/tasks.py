"""Modal's tasks, which are containers: which there are, since when, on which GPUs, and what became of them.

Sources: the installed SDK (cli/container.py). A task that waits for a machine has been enqueued and has not started.
"""

from collections.abc import Sequence

from modal_proto import api_pb2

from .apps import Apps
from .containers import Container
from .server import not_found


class Tasks:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, apps: Apps, containers: Sequence[Container]) -> None:
        """`containers` are all that there have ever been."""
        self._apps = apps
        self._containers = containers

    def TaskList(self, request: api_pb2.TaskListRequest) -> api_pb2.TaskListResponse:  # noqa: N802
        """Those that have not ended, of one app or of all of an environment."""
        tasks = [
            api_pb2.TaskStats(
                task_id=container.id,
                app_id=app.id,
                app_description=app.description,
                enqueued_at=container.enqueued_at,
                started_at=container.started_at,
            )
            for app in self._apps
            if request.app_id in ("", app.id) and request.environment_name in ("", app.environment)
            for function in self._apps.functions_of(app)
            for container in function.containers
        ]
        return api_pb2.TaskListResponse(tasks=tasks)

    def TaskGetInfo(self, request: api_pb2.TaskGetInfoRequest) -> api_pb2.TaskGetInfoResponse:  # noqa: N802
        """Also of one that has ended."""
        container = self._get(request.task_id)
        info = api_pb2.TaskInfo(
            id=container.id,
            enqueued_at=container.enqueued_at,
            started_at=container.started_at,
            finished_at=container.finished_at,
            gpu_type=container.gpu.gpu_type,
            gpu_config=container.gpu,
            result=container.result if container.finished_at else None,
        )
        return api_pb2.TaskGetInfoResponse(app_id=container.function.app_id, info=info)

    def _get(self, id_: str) -> Container:
        found = next((container for container in self._containers if container.id == id_), None)
        if found is None:
            raise not_found(f"Task {id_}")
        return found
