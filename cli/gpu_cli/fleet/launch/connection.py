"""The way to an engine that starts: its cloud may tell its endpoint late, and another one after a restart."""

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard, guard_lives
from gpu_cli.fleet.reach.engine_client import EngineClient
from gpu_cli.fleet.reach.link import client_for, engine_url, reached_at
from gpu_providers.base import Link, Secret


class Connection:
    """Keeps the record of the endpoint, and the client of whatever serves there."""

    def __init__(self, fleet: Fleet, deployment: Deployment, key: Secret) -> None:
        self._fleet = fleet
        self._deployment = deployment
        self._key = key
        self._url = ""
        self._client: EngineClient | None = None

    def __enter__(self) -> "Connection":
        self._follow()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._client:
            self._client.__exit__()

    @property
    def client(self) -> EngineClient | None:
        """Of the engine, wherever it is now; None while there is no way to it. Raises UserError without a guard."""
        if self._deployment.link is Link.SSH and self._deployment.endpoint:
            if not guard_lives(self._fleet.paths):  # which holds the tunnel
                ensure_guard(self._fleet)
            self._deployment = self._fleet.store.get(self._deployment.resource_name)
            self._follow()
        return self._client

    def reach(self, endpoint: str) -> None:
        """From now on the engine is there, as its provider tells it; an empty one says nothing. Raises UserError."""
        endpoint = reached_at(self._deployment.link, endpoint)
        if endpoint not in ("", self._deployment.endpoint):
            self._deployment = self._fleet.store.update(self._deployment.resource_name, endpoint=endpoint)
        self._follow()

    def _follow(self) -> None:
        url = engine_url(self._deployment)
        if url in ("", self._url):
            return
        client = client_for(self._fleet, self._deployment, self._key)
        self.__exit__()
        self._client, self._url = client, url
