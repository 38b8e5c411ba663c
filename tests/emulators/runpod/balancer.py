"""The load balancers in front of RunPod's serverless endpoints: `/lb/{endpoint}/...`.

    no key, or another than the account's    401
    no such endpoint                         404
    no worker has a host yet                 400 `no workers available`, and one is woken
    none is ready yet                        502
    ready                                    what the worker answers; 524 after 330 s without a byte

Which statuses a cold endpoint really gives is not documented; these have been reported. The path reaches the worker
unchanged. (RunPod's docs, "Load balancing"; runpod/runpod-plugins-official.)
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from ..forwarding import bad_gateway, forward, real_silence_s
from ..server import Request, Response, Route, json_response
from .endpoints import Endpoint, Endpoints, Worker

if TYPE_CHECKING:
    from .emulator import RunPodEmulator

SILENCE_S = 330.0


class Balancer:
    """All of them."""

    def __init__(self, cloud: "RunPodEmulator", endpoints: Endpoints) -> None:
        self._cloud = cloud
        self._endpoints = endpoints

    def routes(self) -> list[Route]:
        return [Route("*", "/lb/{id}/{path...}", self._balance, call="proxy", locked=False)]

    def _balance(self, request: Request) -> Response:
        if request.bearer != self._cloud.key:
            return json_response({"error": "unauthorized"}, 401)
        with self._cloud.lock:
            endpoint = self._endpoints.get(request.params["id"])
            if endpoint is None or endpoint.body["type"] == "QUEUE":
                return json_response({"error": "endpoint not found"}, 404)
            self._endpoints.wake(endpoint)
        self._endpoints.probe(endpoint)
        with self._cloud.lock:
            worker = endpoint.ready()
            if worker is None:
                return _cold(endpoint)
            worker.in_flight += 1
        return self._forwarded(request, worker)

    def _forwarded(self, request: Request, worker: Worker) -> Response:
        port = worker.container.port if worker.container else None
        path = "/" + "/".join(request.path.split("/")[3:])
        patience_s = real_silence_s(SILENCE_S, self._cloud.clock)
        response = forward(request, port, path, silence_s=patience_s) if port else bad_gateway()
        if isinstance(response.body, bytes):
            self._done(worker)
            return response
        return replace(response, body=self._until_done(response.body, worker))

    def _until_done(self, parts: Iterator[bytes], worker: Worker) -> Iterator[bytes]:
        try:
            with closing(parts):  # type: ignore[type-var]
                yield from parts
        finally:
            self._done(worker)

    def _done(self, worker: Worker) -> None:
        with self._cloud.lock:
            worker.in_flight -= 1
            worker.used_at = self._cloud.clock.now()


def _cold(endpoint: Endpoint) -> Response:
    if all(worker.container is None or worker.container.uptime_s is None for worker in endpoint.workers.values()):
        return json_response({"error": "no workers available"}, 400)
    return bad_gateway()
