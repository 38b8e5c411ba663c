"""RunPod's serverless endpoints: what they are made of, and how their workers come and go.

What the sources say, and this does:
- An endpoint starts without workers, unless `workers.min` says otherwise; a request wakes one (its OpenAPI file).
- The defaults of a create are those that a client had better not rely on: `timeout` 0 (seen live where the file says
  300000), `flashboot` OFF, `idleTimeout` 10, three workers at most (runpod/runpod-plugins-official).
- A worker gets requests once its health check answers 200 on PORT_HEALTH; one without that variable, or whose port is
  not exposed, stays unready (the same, golden path 14); an unready worker is ended after 8 minutes (docs, "Load
  balancing").
- A worker that has had no request for `idleTimeout` is ended, down to `workers.min`.
- Workers are billed from start to stop; throttled ones (no host is free) are not. Without money they are ended, as
  pods are (docs, "Billing", which says nothing of workers).
"""

import http.client
import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..container_spec import ContainerSpec
from ..containers import Container
from ..lifetime import Lifetime
from .cards import DATA_CENTERS, Card
from .catalogue import Wish
from .command import what_runs
from .pods import DISK_USD_PER_GB_HOUR

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

UNREADY_S = 480.0
UNHEALTHY_RESTARTS = 3
"""Of its command; when the real one gives a worker up is not documented."""
VOLUME_PATH = "/runpod-volume"
"""Where a worker has its volume."""
PROBE_S = 1.0
USUAL_DISK_GB = 20
DEFAULTS: Mapping[str, Any] = {
    "args": "",
    "disk": USUAL_DISK_GB,
    "ports": [],
    "env": {},
    "registry": None,
    "dataCenterIds": [],
    "networkVolumes": [],
    "timeout": 0,
    "flashboot": "OFF",
}
DEFAULT_WORKERS: Mapping[str, int] = {"min": 0, "max": 3, "idleTimeout": 10}


@dataclass
class Worker:
    """One worker; without a container it waits for a host."""

    id: str
    created_at: float
    card: Card | None = None
    data_center: str | None = None
    container: Container | None = None
    ready: bool = False
    in_flight: int = 0
    used_at: float = 0.0

    @property
    def status(self) -> str:
        if self.container is None:
            return "THROTTLED"
        if self.container.restarts >= UNHEALTHY_RESTARTS:
            return "UNHEALTHY"
        if self.in_flight:
            return "RUNNING"
        return "IDLE" if self.ready else "INITIALIZING"


@dataclass
class Endpoint(Lifetime):
    """One endpoint."""

    id: str
    body: dict[str, Any]
    """Of its creation, defaults filled in."""
    workers: dict[str, Worker] = field(default_factory=dict)
    ended_workers: dict[str, Worker] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def env(self) -> Mapping[str, str]:
        return dict(self.body["env"])

    @property
    def port(self) -> int:
        """The one that is balanced; 0 without any."""
        exposed = [int(port.partition("/")[0]) for port in self.body["ports"] if port.endswith("/http")]
        wanted = int(self.env.get("PORT", 80))
        return wanted if wanted in exposed else 0

    @property
    def health_path(self) -> str:
        return self.env.get("HEALTH_CHECK_PATH", "/ping")

    def ready(self) -> Worker | None:
        """The ready worker with the fewest requests."""
        return min((w for w in self.workers.values() if w.ready), key=lambda worker: worker.in_flight, default=None)


class Endpoints:
    """All endpoints of the account. Its methods are called under the cloud's lock, unless they say otherwise."""

    def __init__(self, cloud: "RunPodEmulator") -> None:
        self._cloud = cloud
        self._endpoints: dict[str, Endpoint] = {}

    def __iter__(self) -> Iterator[Endpoint]:
        return (endpoint for endpoint in self._endpoints.values() if endpoint.gone_at is None)

    def get(self, id: str) -> Endpoint | None:  # noqa: A002
        found = self._endpoints.get(id)
        return found if found and found.gone_at is None else None

    def listed(self, lag_s: float = 0.0) -> list[Endpoint]:
        """As by a list that lags behind."""
        now = self._cloud.clock.now()
        return [endpoint for endpoint in self._endpoints.values() if endpoint.is_listed(now, lag_s)]

    def worker_on_record(self, id: str, worker_id: str) -> Worker | None:  # noqa: A002
        """The worker, be it or its endpoint gone."""
        endpoint = self._endpoints.get(id)
        return {**endpoint.ended_workers, **endpoint.workers}.get(worker_id) if endpoint else None

    def create(self, body: Mapping[str, Any]) -> Endpoint:
        workers = {**DEFAULT_WORKERS, **body.get("workers", {})}
        made, now = {**DEFAULTS, **body, "workers": workers}, self._cloud.clock.now()
        endpoint = Endpoint(secrets.token_hex(7), made, created_at=now)
        self._endpoints[endpoint.id] = endpoint
        self._cloud.billing.start(endpoint.id, endpoint.name, 0.0)
        self.scale(endpoint)
        return endpoint

    def delete(self, endpoint: Endpoint) -> None:
        for worker in list(endpoint.workers.values()):
            self._end(endpoint, worker)
        endpoint.end(self._cloud.clock.now())
        self._cloud.billing.stop(endpoint.id)

    def wake(self, endpoint: Endpoint) -> None:
        """For one more request; workers that wait for a host look again."""
        for worker in endpoint.workers.values():
            if worker.container is None:
                self._host(endpoint, worker)
        self.scale(endpoint, more_requests=1)

    def scale(self, endpoint: Endpoint, more_requests: int = 0) -> None:
        """Up, to what its requests, and so many more, need, if there is money."""
        if self._cloud.billing.balance_usd() <= 0:
            return
        workers, requests = endpoint.body["workers"], more_requests
        requests += sum(worker.in_flight for worker in endpoint.workers.values())
        needed = math.ceil(requests / endpoint.body["scaling"].get("requestCount", 1))
        while len(endpoint.workers) < min(workers["max"], max(workers["min"], needed)):
            self._start(endpoint)

    def tick(self) -> None:
        """Ends idle workers, those that do not become ready, and everything once the money is gone."""
        now, broke = self._cloud.clock.now(), self._cloud.billing.balance_usd() <= 0
        for endpoint in self:
            for worker in list(endpoint.workers.values()):
                if broke or self._is_over(endpoint, worker, now):
                    self._end(endpoint, worker)
            self.scale(endpoint)

    def probe(self, endpoint: Endpoint) -> None:
        """Asks its unready workers for their health. Not called under the lock."""
        for worker in list(endpoint.workers.values()):
            if not worker.ready and worker.container and _is_healthy(endpoint, worker.container):
                worker.used_at, worker.ready = self._cloud.clock.now(), True

    def _is_over(self, endpoint: Endpoint, worker: Worker, now: float) -> bool:
        workers: Mapping[str, int] = endpoint.body["workers"]
        if worker.in_flight or len(endpoint.workers) <= workers["min"]:
            return False
        if worker.ready:
            return now - worker.used_at >= workers.get("idleTimeout", 10)
        return now - worker.created_at >= UNREADY_S

    def _start(self, endpoint: Endpoint) -> None:
        worker = Worker(secrets.token_hex(7), self._cloud.clock.now())
        endpoint.workers[worker.id] = worker
        self._cloud.billing.start(worker.id, f"{endpoint.name} worker", 0.0)
        self._host(endpoint, worker)

    def _host(self, endpoint: Endpoint, worker: Worker) -> None:
        """Gives it a machine, where one is free."""
        if found := self._place(endpoint.body):
            worker.card, worker.data_center = found
            worker.container = self._run(endpoint, worker, worker.card)
            self._cloud.billing.rate(worker.id, self._usd_per_hour(endpoint, worker.card))

    def _end(self, endpoint: Endpoint, worker: Worker) -> None:
        del endpoint.workers[worker.id]
        endpoint.ended_workers[worker.id] = worker
        worker.ready = False
        if worker.container:
            worker.container.stop()
        self._cloud.billing.stop(worker.id)

    def _place(self, body: Mapping[str, Any]) -> tuple[Card, str] | None:
        """A free machine of one of the pools."""
        gpu = body["gpu"]
        wish = Wish(
            count=gpu.get("count", 1),
            data_centers=body["dataCenterIds"] or tuple(DATA_CENTERS),
            cuda_versions=gpu.get("allowedCudaVersions") or (),
            min_cuda_version=gpu.get("minCudaVersion") or "",
        )
        for card in self._cloud.catalogue.selected(gpu["pools"], gpu.get("excludedTypes", ())):
            place = self._cloud.catalogue.place(card, wish)
            if place and not self._cloud.misbehaviour.take("no-capacity", call="create", gpu=card.id):
                return card, place[0]
        return None

    def _run(self, endpoint: Endpoint, worker: Worker, card: Card) -> Container:
        body = endpoint.body
        entrypoint, cmd = what_runs(body)
        env = {
            **endpoint.env,
            "RUNPOD_POD_ID": worker.id,
            "RUNPOD_ENDPOINT_ID": endpoint.id,
            "RUNPOD_DC_ID": str(worker.data_center),
            "RUNPOD_GPU_COUNT": str(body["gpu"].get("count", 1)),
        }
        spec = ContainerSpec(worker.id, body["image"], entrypoint, cmd, env, endpoint.port)
        for volume in body["networkVolumes"][:1]:
            spec = self._cloud.volumes.mounted(spec, volume, VOLUME_PATH)
        return self._cloud.run(spec, self._cloud.boot_of(card.id))

    def _usd_per_hour(self, endpoint: Endpoint, card: Card) -> float:
        gpu_count, disk_gb = int(endpoint.body["gpu"].get("count", 1)), int(endpoint.body["disk"])
        return (card.price.serverless or 0.0) * gpu_count + disk_gb * DISK_USD_PER_GB_HOUR


def _is_healthy(endpoint: Endpoint, container: Container) -> bool:
    """By the health port, which has to be named, and is the balanced one here: a container has a single port."""
    if not endpoint.port or endpoint.env.get("PORT_HEALTH") != str(endpoint.port) or not container.port:
        return False
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=PROBE_S)
    try:
        connection.request("GET", endpoint.health_path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
