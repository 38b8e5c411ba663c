"""RunPod's API v2, its proxy and its log streams, on loopback.

/v2/...                 the control plane: keys are checked, bodies too, what is answered is checked against the
                        cloud's OpenAPI file
/graphql                the balance
/proxy/{pod}/{port}/... the proxy in front of pods
/lb/{endpoint}/...      the load balancers of serverless endpoints
/s3/{data center}/...   the S3 APIs in front of network volumes
/_emulator/...          bill, state and misbehave
"""

from collections.abc import Mapping
from typing import Any

from ..cloud import Cloud
from ..container_log import Log
from ..misbehaviour import EVERYWHERE
from ..openapi import Conformance
from ..server import Request, Response, Route
from .account import Account
from .answers import LARGEST_PAGE, problem, with_quota
from .balancer import Balancer
from .catalogue import Catalogue
from .endpoints import Endpoints
from .logs import LogStreams
from .pod_routes import PodRoutes
from .pods import Pods
from .proxy import Exposed, Proxy
from .serverless import Serverless
from .specification import RUNPOD
from .volumes import Volumes


class RunPodEmulator(Cloud):
    """An account at RunPod with one key and some money.

    `stock` sets levels by GPU id (see Catalogue); `page_size` is how many items a list shows at once; the rest is as
    for every Cloud.
    """

    ENUM_FIELDS = ("status", "manufacturer", "availability", "cloud", "source")
    OPTIONAL_FIELDS = (
        *("actions", "args", "mounts", "registry", "cloud", "dataCenterId", "cudaVersion", "ssh", "template", "locked"),
        *("runtime", "startedAt", "globalNetworking", "cost", "pagination", "maxCount", "pool", "dataCenters"),
        *("cudaVersions", "compliance", "errors", "detail"),
    )
    WORDS = (*EVERYWHERE, "no-arrays", "no-json-args", "delete-locked", "early-running", "preempt")

    def __init__(
        self,
        *,
        stock: Mapping[str, str] | None = None,
        page_size: int = LARGEST_PAGE,
        **of_every_cloud: Any,
    ) -> None:
        super().__init__(**of_every_cloud)
        self.key = "rpa_EMULATED0ACCOUNT0KEY"
        self.page_size = page_size
        self.conformance = Conformance(RUNPOD)
        self.catalogue = Catalogue(stock)
        self.account = Account(self)
        self.pods = Pods(self)
        self.endpoints = Endpoints(self)
        self.volumes = Volumes(self)
        self._quota_minute, self._quota_used = 0, 0

    def routes(self) -> list[Route]:
        logs = LogStreams(self._log_of_pod, self.clock, self.stopping)
        return [
            *self.account.routes(),
            *self.catalogue.routes(),
            *PodRoutes(self).routes(),
            Route("GET", "/v2/pods/{id}/logs", logs.handle, call="logs", locked=False),
            *Proxy(self._exposed, self.clock).routes(),
            *Serverless(self, self.endpoints).routes(),
            *Balancer(self, self.endpoints).routes(),
            *self.volumes.routes(),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {
            "GPU_RUNPOD_API_URL": f"{self.url}/v2",
            "GPU_RUNPOD_PROXY_URL": f"{self.url}/proxy/{{pod}}/{{port}}",
            "GPU_RUNPOD_SERVERLESS_URL": f"{self.url}/lb/{{endpoint}}",
            "RUNPOD_API_KEY": self.key,
            **self.volumes.env,
        }

    def stop(self) -> None:
        super().stop()
        self.volumes.close()

    def admit(self, request: Request) -> Response | None:
        return self.account.admit(request) if _is_api(request) else None

    def refusal(self, status: int, detail: str) -> Response:
        return problem(status, detail)

    def finished(self, request: Request, response: Response) -> Response:
        if not request.path.startswith("/v2/") or response.status == 401:
            return response
        minute, second = divmod(self.clock.now(), 60)
        self._quota_used = self._quota_used + 1 if minute == self._quota_minute else 1
        self._quota_minute = int(minute)
        return with_quota(response, self._quota_used, second)

    def gpu_of(self, request: Request) -> str:
        body = request.json()
        gpu = body.get("gpu") if isinstance(body, dict) else None
        return str(gpu.get("id") or gpu.get("pools")) if isinstance(gpu, dict) else ""

    def tick(self) -> None:
        self.pods.tick()
        self.endpoints.tick()

    def state(self) -> Any:
        pods, serverless = PodRoutes(self), Serverless(self, self.endpoints)
        return {
            "pods": [pods.as_json(pod) for pod in self.pods],
            "endpoints": [serverless.as_json(endpoint) for endpoint in self.endpoints],
            "volumes": [volume.as_json() for volume in self.volumes],
            "balance_usd": self.billing.balance_usd(),
        }

    def _exposed(self, pod_id: str) -> Exposed | None:
        with self.lock:
            pod = self.pods.get(pod_id)
            return Exposed(pod.http_ports, pod.container) if pod else None

    def _log_of_pod(self, request: Request) -> Log | None:
        with self.lock:
            pod = self.pods.on_record(request.params["id"])
            return pod.container.log if pod and pod.container else None


def _is_api(request: Request) -> bool:
    """Whether it went to api.runpod.io."""
    return request.path.startswith("/v2/") or request.path == "/graphql"
