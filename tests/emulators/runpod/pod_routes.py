"""The routes of RunPod's pods: bodies are checked as the real API does it, and in its order.

Sources: RunPod's OpenAPI file of API v2; its docs; runpod/runpod-plugins-official (notes on breaking changes);
mcp changelog 3.3.0 (a create without `gpu.count` is answered as if nothing were free).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..misbehaviour import Rule
from ..server import Request, Response, Route, json_response
from . import bodies
from .answers import invalid, no_capacity, not_found, page, problem
from .cards import DATA_CENTERS, SECURE, Card
from .catalogue import Wish
from .pods import ACTIONS, Pod, network_volume

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

LARGEST_BODY = 102_400
HTTP_PORTS = 10
NO_SUCH_IMAGE = "nosuchimage"
"""Images with this in their name are on no registry."""


class PodRoutes:
    """`/v2/pods`, all but the logs."""

    def __init__(self, cloud: "RunPodEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/pods", self._list, call="list"),
            Route("POST", "/v2/pods", self._create, call="create"),
            Route("GET", "/v2/pods/{id}", self._get, call="get"),
            Route("PATCH", "/v2/pods/{id}", self._change, call="update"),
            Route("DELETE", "/v2/pods/{id}", self._delete, call="delete"),
            Route("POST", "/v2/pods/{id}/action", self._act, call="update"),
        ]

    def _list(self, request: Request) -> Response:
        lag = self._rule("list-lag", call="list")
        pods = self._cloud.pods.listed(lag.seconds if lag else 0.0)
        return page(request, "pods", [self.as_json(pod) for pod in pods], self._cloud.page_size)

    def _get(self, request: Request) -> Response:
        pod = self._cloud.pods.get(request.params["id"])
        return json_response(self.as_json(pod)) if pod else not_found()

    # Creation

    def _create(self, request: Request) -> Response:
        body = request.json()
        if refusal := _too_large(request) or self._malformed(body) or _contradiction(body) or self._no_volume(body):
            return refusal
        gpu = body["gpu"]
        card = self._cloud.catalogue.card(gpu["id"])
        if card is None:
            return problem(400, f"unknown GPU type {gpu['id']!r}")
        if refusal := self._cloud.account.cannot_pay(card.id, _usd_per_hour(card, body)):
            return refusal
        place = self._cloud.catalogue.place(card, self._wish(body)) if "count" in gpu else None
        if place is None or self._rule("no-capacity", call="create", gpu=card.id):
            return no_capacity()
        pod = self._cloud.pods.create(body, card, place, self._cloud.boot_of(card.id), self._preempted_after_s(card))
        return json_response(self.as_json(pod), 201)

    def _malformed(self, body: Any) -> Response | None:
        if errors := bodies.NEW_POD(body, "$"):
            return invalid(errors)
        if "templateId" in body:
            return problem(404, "template not found")
        if "image" not in body:
            return invalid(["$: missing property 'image'"])
        return self._refused_form(body) or _no_such_image(body)

    def _refused_form(self, body: Mapping[str, Any]) -> Response | None:
        """Of the command, where the cloud is told not to know it."""
        arrays = [name for name in ("entrypoint", "cmd") if name in body]
        if arrays and self._rule("no-arrays", call="create"):
            return invalid([f"$: additional properties {', '.join(map(repr, arrays))} not allowed"])
        if body.get("args", "").startswith("{") and self._rule("no-json-args", call="create"):
            return invalid(["$.args: value is not a command line"])
        return None

    def _no_volume(self, body: Mapping[str, Any]) -> Response | None:
        """Network volumes are of the secure cloud (docs, "Network volumes")."""
        mounted = network_volume(body)
        if mounted and (self._cloud.volumes.get(mounted) is None or body.get("cloud", SECURE) != SECURE):
            return problem(400, f"network volume {mounted!r} cannot be mounted")
        return None

    def _centers(self, body: Mapping[str, Any]) -> Sequence[str]:
        """Called preferred, and enforced. A network volume pins its own."""
        preferred = body.get("dataCenterIds") or tuple(DATA_CENTERS)
        mounted = network_volume(body)
        volume = self._cloud.volumes.get(mounted) if mounted else None
        return [center for center in preferred if volume is None or center == volume.data_center]

    def _wish(self, body: Mapping[str, Any]) -> Wish:
        gpu = body["gpu"]
        return Wish(
            count=gpu["count"],
            clouds=(body.get("cloud", SECURE),),
            data_centers=self._centers(body),
            cuda_versions=gpu.get("allowedCudaVersions", ()),
            min_cuda_version=gpu.get("minCudaVersion", ""),
        )

    def _preempted_after_s(self, card: Card) -> float | None:
        rule = self._rule("preempt", call="create", gpu=card.id)
        return rule.seconds if rule else None

    # Changes and ends

    def _change(self, request: Request) -> Response:
        pod, body = self._cloud.pods.get(request.params["id"]), request.json()
        if pod is None:
            return not_found()
        if errors := bodies.POD_CHANGES(body, "$"):
            return invalid(errors)
        pod.locked = body.pop("locked", pod.locked)
        pod.body |= body
        if pod.status == "RUNNING" and body.keys() - {"name"}:
            self._cloud.pods.restart(pod)
        return json_response(self.as_json(pod))

    def _act(self, request: Request) -> Response:
        pod, body = self._cloud.pods.get(request.params["id"]), request.json()
        if pod is None:
            return not_found()
        if errors := bodies.ACTION(body, "$"):
            return invalid(errors)
        action = body["action"]
        if action not in ACTIONS[pod.status] or (pod.locked and action in ("stop", "restart")):
            return problem(409, f"cannot {action} a pod that is {'locked' if pod.locked else pod.status}")
        if action == "terminate":
            return self._end(pod)
        pods = self._cloud.pods
        {"start": pods.start, "stop": pods.stop, "restart": pods.restart}[action](pod)
        return json_response(self.as_json(pod))

    def _delete(self, request: Request) -> Response:
        pod = self._cloud.pods.get(request.params["id"])
        return self._end(pod) if pod and pod.gone_at is None else not_found()

    def _end(self, pod: Pod) -> Response:
        if pod.locked and self._rule("delete-locked", call="delete"):
            return problem(409, "pod is locked")
        lag = self._rule("delete-lag", call="delete")
        if not self._rule("delete-204-stays", call="delete"):
            self._cloud.pods.terminate(pod, lag.seconds if lag else 0.0)
        return Response(204)

    def _rule(self, what: str, *, call: str, gpu: str = "") -> Rule | None:
        return self._cloud.misbehaviour.take(what, call=call, gpu=gpu)

    def as_json(self, pod: Pod) -> dict[str, Any]:
        """The pod as the API shows it."""
        body, clock = pod.body, self._cloud.clock
        return {
            "id": pod.id,
            "name": pod.name,
            "status": pod.status,
            "actions": ACTIONS[pod.status],
            "image": body["image"],
            "args": body.get("args", ""),
            **{name: body[name] for name in ("entrypoint", "cmd") if name in body},
            "disk": pod.disk_gb,
            "mounts": body.get("mounts", {}),
            "ports": body.get("ports", []),
            "env": body.get("env", {}),
            "registry": body.get("registry"),
            "gpu": {"id": pod.card.id, "count": pod.gpu_count, "vcpuCount": pod.vcpus, "memory": 8 * pod.vcpus},
            "cloud": pod.cloud,
            "dataCenterId": pod.data_center,
            "cudaVersion": pod.cuda,
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": pod.usd_per_hour,
            "locked": pod.locked,
            "runtime": _runtime(pod),
            "createdAt": clock.timestamp(pod.created_at),
            "startedAt": clock.timestamp(pod.started_at),
            "globalNetworking": {"enabled": False},
        }


def _usd_per_hour(card: Card, body: Mapping[str, Any]) -> float:
    return card.usd_per_hour(body.get("cloud", SECURE)) * int(body["gpu"].get("count", 1))


def _runtime(pod: Pod) -> dict[str, Any] | None:
    uptime_s = pod.container.uptime_s if pod.container and pod.status == "RUNNING" else None
    if uptime_s is None:
        return None
    address = {"public": 60_000, "type": "http", "ip": "100.65.0.1"}  # of the host's own network
    ports = [{"private": port, **address} for port in pod.http_ports]
    idle = {"util": 0}
    gpus = [{"util": 0, "memoryUtil": 0}] * pod.gpu_count
    return {"uptime": int(uptime_s), "gpus": gpus, "cpu": idle, "memory": idle, "ports": ports}


def _too_large(request: Request) -> Response | None:
    too_large = len(request.body) > LARGEST_BODY
    return problem(413, f"request body exceeds {LARGEST_BODY} bytes") if too_large else None


def _contradiction(body: Mapping[str, Any]) -> Response | None:
    """Rules across fields: 400, where the shape alone would be 422."""
    if ("gpu" in body) == ("cpu" in body):
        return problem(400, "exactly one of gpu and cpu is required")
    if "cpu" in body:
        return problem(400, "CPU pods are not emulated")
    if body["gpu"].get("allowedCudaVersions") and body["gpu"].get("minCudaVersion"):
        return problem(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
    if sum(port.endswith("/http") for port in body.get("ports", ())) > HTTP_PORTS:
        return problem(400, f"at most {HTTP_PORTS} http ports")
    return None


def _no_such_image(body: Mapping[str, Any]) -> Response | None:
    if NO_SUCH_IMAGE in body["image"]:
        return problem(422, f"image {body['image']!r} not found on its registry")
    return None
