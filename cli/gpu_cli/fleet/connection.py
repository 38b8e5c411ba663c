"""The way to an engine that starts: its cloud may tell its endpoint late, and another one after a restart."""

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.engine_client import EngineClient
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.link import client_for, reached_at
from gpu_providers.base import Secret


class Connection:
    """Keeps the record of the endpoint, and the client of whatever serves there."""

    def __init__(self, fleet: Fleet, deployment: Deployment, key: Secret) -> None:
        self._fleet = fleet
        self._deployment = deployment
        self._key = key
        self._endpoint = ""
        self.client: EngineClient | None = None

    def __enter__(self) -> "Connection":
        self.reach(self._deployment.endpoint)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.client:
            self.client.__exit__()

    def reach(self, endpoint: str) -> None:
        """From now on the engine is there, as its provider tells it; an empty one says nothing. Raises UserError."""
        endpoint = reached_at(self._deployment.link, endpoint)
        if endpoint in ("", self._endpoint):
            return
        self.__exit__()
        deployment = self._fleet.store.update(self._deployment.resource_name, endpoint=endpoint)
        self.client, self._endpoint = client_for(self._fleet, deployment, self._key), endpoint
