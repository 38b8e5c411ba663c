"""The routes of RunPod's serverless endpoints (its OpenAPI file of API v2): `/v2/serverless`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..container_log import Log
from ..server import Request, Response, Route, json_response
from . import bodies
from .answers import invalid, not_found, page, problem
from .endpoints import Endpoint, Endpoints, Worker
from .logs import LogStreams

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

QUEUE_URLS = {
    "run": "run",
    "runSync": "runsync",
    "status": "status/{job_id}",
    "stream": "stream/{job_id}",
    "cancel": "cancel/{job_id}",
    "retry": "retry/{job_id}",
    "purgeQueue": "purge-queue",
    "health": "health",
}
QUEUE_DELAY = bodies.fields(("type", "queueDelay"), type=bodies.string(), queueDelay=bodies.number(0.5))
REQUEST_COUNT = bodies.fields(("type", "requestCount"), type=bodies.string(), requestCount=bodies.integer(1))


def scaling(value: Any, path: str) -> list[str]:
    """One of two shapes, told apart by their `type`."""
    kinds = {"QUEUE_DELAY": QUEUE_DELAY, "REQUEST_COUNT": REQUEST_COUNT}
    kind = kinds.get(str(value.get("type"))) if isinstance(value, dict) else None
    return kind(value, path) if kind else [f"{path}.type: value must be one of 'QUEUE_DELAY', 'REQUEST_COUNT'"]


NEW_ENDPOINT = bodies.fields(
    ("name", "type", "scaling"),
    **bodies.CONTAINER,
    name=bodies.string(pattern=".+", longest=191),
    type=bodies.string(one_of=("QUEUE", "LOAD_BALANCER")),
    scaling=scaling,
    gpu=bodies.fields(
        ("pools",),
        pools=bodies.array(bodies.string()),
        excludedTypes=bodies.array(bodies.string()),
        count=bodies.integer(1),
        allowedCudaVersions=bodies.array(bodies.CUDA_VERSION),
        minCudaVersion=bodies.CUDA_VERSION,
    ),
    cpu=bodies.array(bodies.fields(("id",), id=bodies.string(), vcpuCount=bodies.integer(1))),
    workers=bodies.fields((), min=bodies.integer(0), max=bodies.integer(0), idleTimeout=bodies.integer(1, 3600)),
    dataCenterIds=bodies.array(bodies.string()),
    networkVolumes=bodies.array(bodies.string()),
    templateId=bodies.string(pattern=".+"),
    timeout=bodies.integer(0),
    flashboot=bodies.string(one_of=("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT")),
)


class Serverless:
    """All of them, but for changes: the product makes none."""

    def __init__(self, cloud: "RunPodEmulator", endpoints: Endpoints) -> None:
        self._cloud = cloud
        self._endpoints = endpoints

    def routes(self) -> list[Route]:
        logs = LogStreams(self._log, self._cloud.clock, self._cloud.stopping)
        one = "/v2/serverless/{id}"
        return [
            Route("GET", "/v2/serverless", self._list, call="list"),
            Route("POST", "/v2/serverless", self._create, call="create"),
            Route("GET", one, self._get, call="get"),
            Route("DELETE", one, self._delete, call="delete"),
            Route("GET", f"{one}/workers", self._workers, call="get", locked=False),
            Route("GET", f"{one}/workers/{{workerId}}/logs", logs.handle, call="logs", locked=False),
        ]

    def _list(self, request: Request) -> Response:
        lag = self._cloud.misbehaviour.take("list-lag", call="list")
        found = [self.as_json(endpoint) for endpoint in self._endpoints.listed(lag.seconds if lag else 0.0)]
        return page(request, "endpoints", found, self._cloud.page_size)

    def _get(self, request: Request) -> Response:
        endpoint = self._endpoints.get(request.params["id"])
        return json_response(self.as_json(endpoint)) if endpoint else not_found()

    def _create(self, request: Request) -> Response:
        body = request.json()
        if refusal := _malformed(body) or self._contradiction(body):
            return refusal
        if refusal := self._cloud.account.cannot_pay(self._cloud.gpu_of(request), hour_usd=0.0):
            return refusal
        return json_response(self.as_json(self._endpoints.create(body)), 201)

    def _contradiction(self, body: Mapping[str, Any]) -> Response | None:
        """Rules across fields: 400."""
        if ("gpu" in body) == ("cpu" in body):
            return problem(400, "exactly one of gpu and cpu is required")
        if "cpu" in body:
            return problem(400, "CPU endpoints are not emulated")
        gpu = body["gpu"]
        if gpu.get("allowedCudaVersions") and gpu.get("minCudaVersion"):
            return problem(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
        if unknown := [pool for pool in gpu["pools"] if not self._cloud.catalogue.pool(pool)]:
            return problem(400, f"unknown GPU pools: {', '.join(unknown)}")
        if not self._cloud.catalogue.selected(gpu["pools"], gpu.get("excludedTypes", ())):
            return problem(400, "the GPU selection leaves no type")
        if unknown := [id_ for id_ in body.get("networkVolumes", ()) if not self._cloud.volumes.get(id_)]:
            return problem(400, f"unknown network volumes: {', '.join(unknown)}")
        return None

    def _delete(self, request: Request) -> Response:
        endpoint = self._endpoints.get(request.params["id"])
        if endpoint is None:
            return not_found()
        if not self._cloud.misbehaviour.take("delete-204-stays", call="delete"):
            self._endpoints.delete(endpoint)
        return Response(204)

    def _workers(self, request: Request) -> Response:
        with self._cloud.lock:
            endpoint = self._endpoints.get(request.params["id"])
        if endpoint is None:
            return not_found()
        self._endpoints.probe(endpoint)
        with self._cloud.lock:
            workers = [self._worker_json(endpoint, worker) for worker in endpoint.workers.values()]
        counts = {
            status: sum(worker["status"] == status.upper() for worker in workers)
            for status in ("running", "idle", "initializing", "throttled", "unhealthy")
        }
        summary = {**counts, "total": len(workers)}
        return json_response({"workers": workers, "summary": summary, "endpointVersion": 1})

    def _log(self, request: Request) -> Log | None:
        with self._cloud.lock:
            worker = self._endpoints.worker_on_record(request.params["id"], request.params["workerId"])
        return worker.container.log if worker and worker.container else None

    def as_json(self, endpoint: Endpoint) -> dict[str, Any]:
        """The endpoint as the API shows it."""
        return {
            "id": endpoint.id,
            **endpoint.body,
            "gpu": {"allowedCudaVersions": [], "minCudaVersion": None, **endpoint.body["gpu"]},
            "requestUrls": self._urls(endpoint),
            "createdAt": self._cloud.clock.timestamp(endpoint.created_at),
        }

    def _urls(self, endpoint: Endpoint) -> dict[str, str]:
        if endpoint.body["type"] == "QUEUE":
            return {name: f"{self._cloud.url}/queue/{endpoint.id}/{path}" for name, path in QUEUE_URLS.items()}
        base = f"{self._cloud.url}/lb/{endpoint.id}"
        return {"base": base, "health": f"{base}{endpoint.health_path}"}

    def _worker_json(self, endpoint: Endpoint, worker: Worker) -> dict[str, Any]:
        uptime_s = worker.container.uptime_s if worker.container else None
        started = uptime_s is not None
        return {
            "id": worker.id,
            "status": worker.status,
            "isStale": False,
            "version": 1,
            "gpuCount": endpoint.body["gpu"].get("count", 1),
            "image": endpoint.body["image"],
            "uptimeSeconds": int(uptime_s) if uptime_s is not None else None,
            "gpuTypeId": worker.card.id if worker.card else None,
            "dataCenterId": worker.data_center,
            "startedAt": self._cloud.clock.timestamp(worker.created_at) if started else None,
        }


def _malformed(body: Any) -> Response | None:
    if errors := NEW_ENDPOINT(body, "$"):
        return invalid(errors)
    if "templateId" in body:
        return problem(404, "template not found")
    if "image" not in body:
        return invalid(["$: missing property 'image'"])
    balanced, by_count = body["type"] == "LOAD_BALANCER", body["scaling"]["type"] == "REQUEST_COUNT"
    if balanced and not by_count:
        return invalid(["$.scaling.type: value must be 'REQUEST_COUNT'"])
    if not balanced and by_count and "idleTimeout" in body.get("workers", {}):
        return problem(422, "idleTimeout does not apply to queue-based endpoints scaling on requestCount")
    return None
