"""What answers at an app's URL: its one web Function, or its one Server. To ask Modal about it wakes nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modal import Client
    from modal.types import AppInfo, FunctionAutoscalerSettings, ServerAutoscalerSettings


@dataclass(frozen=True)
class Service:
    """As it is now; of an app that has none yet, nothing is known."""

    url: str = ""
    """Without a slash at its end."""
    idle_s: float | None = None
    """After so long without a request Modal ends a container; None where it does not, or does not say."""
    most_containers: int | None = None
    """None where Modal does not say."""
    containers: int | None = None
    """How many there are, running or waiting for a card; None where Modal does not say: it does of Functions."""
    requests: int = 0
    """In work, and waiting for a container, as far as Modal says."""


def service_of(client: "Client", info: "AppInfo") -> Service:
    """Raises Modal's errors."""
    import modal

    for server_id in info.servers.values():
        server = modal.Server.from_id(server_id, client=client)
        return _service(server.get_url(), server.autoscaler.settings())
    for function_id in info.functions.values():
        function = modal.Function.from_id(function_id, client=client)
        now = function.get_current_stats()
        return _service(
            function.get_web_url(),
            function.autoscaler.settings(),
            containers=now.num_total_runners,
            requests=now.num_running_inputs + now.backlog,
        )
    return Service()


def _service(
    url: str | None,
    settings: "FunctionAutoscalerSettings | ServerAutoscalerSettings",
    *,
    containers: int | None = None,
    requests: int = 0,
) -> Service:
    """Containers that are kept without requests, which we never order, are not ended."""
    kept = settings.min_containers or settings.buffer_containers
    return Service(
        (url or "").rstrip("/"),
        None if kept else settings.scaledown_window,
        settings.max_containers,
        containers,
        requests,
    )
