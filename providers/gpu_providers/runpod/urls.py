"""Where RunPod is: its own addresses, or those that the environment names instead."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Urls:
    """Base addresses without a slash at the end; `{pod}`, `{port}` and `{endpoint}` are to be filled in."""

    api: str = "https://api.runpod.io/v2"
    proxy: str = "https://{pod}-{port}.proxy.runpod.net"
    """TLS in front of a pod's HTTP port (docs.runpod.io, pods/configuration/expose-ports)."""
    serverless: str = "https://{endpoint}.api.runpod.ai"
    """In front of a load balancer endpoint (docs.runpod.io, serverless/load-balancing/overview)."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Urls":
        """GPU_RUNPOD_API_URL, GPU_RUNPOD_PROXY_URL and GPU_RUNPOD_SERVERLESS_URL, each where it is set."""
        return cls(
            api=_set(environ, "GPU_RUNPOD_API_URL", cls.api),
            proxy=_set(environ, "GPU_RUNPOD_PROXY_URL", cls.proxy),
            serverless=_set(environ, "GPU_RUNPOD_SERVERLESS_URL", cls.serverless),
        )

    def of_pod(self, pod_id: str, port: int) -> str:
        """The root URL of what listens on this port of the pod."""
        return self.proxy.replace("{pod}", pod_id).replace("{port}", str(port))

    def of_endpoint(self, endpoint_id: str) -> str:
        """The root URL of the serverless endpoint."""
        return self.serverless.replace("{endpoint}", endpoint_id)


def _set(environ: Mapping[str, str], name: str, default: str) -> str:
    return (environ.get(name) or default).rstrip("/")
