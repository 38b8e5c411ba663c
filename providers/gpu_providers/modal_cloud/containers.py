"""The containers of an app: whether they run, and so bill, and on which cards Modal has put them.

The SDK tells that of no web Function, so it is asked as Modal's own command line asks it (modal/cli/container.py,
1.6.4), through an API that Modal does not promise to keep. Whatever goes wrong with it here is therefore as if Modal
had not said it: an app can be priced by what was ordered, and ended, without.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_providers.modal_cloud.cards import canonical_of
from gpu_providers.modal_cloud.session import rpc

if TYPE_CHECKING:
    from modal import Client
    from modal_proto.api_pb2 import TaskStats


@dataclass(frozen=True)
class Container:
    """One that has not ended."""

    runs: bool
    """Modal has started it, and bills it; else it waits for a card, for nothing."""
    gpu: str = ""
    """Canonical name of its card; empty where Modal has not said it, or says what we do not know."""
    gpu_count: int = 0


def containers(client: "Client", app_id: str) -> Sequence[Container] | None:
    """Those of this app; None where Modal does not say."""
    with suppress(Exception):
        from modal_proto import api_pb2

        listed = rpc(client, "TaskList", api_pb2.TaskListRequest(app_id=app_id)).tasks
        return [_container(client, task) for task in listed if task.app_id == app_id]
    return None


def _container(client: "Client", task: "TaskStats") -> Container:
    if not task.started_at:
        return Container(runs=False)
    with suppress(Exception):
        from modal_proto import api_pb2

        gpu = rpc(client, "TaskGetInfo", api_pb2.TaskGetInfoRequest(task_id=task.task_id)).info.gpu_config
        return Container(runs=True, gpu=canonical_of(gpu.gpu_type), gpu_count=gpu.count)
    return Container(runs=True)
