"""What tests of RunPod's emulator have in common: someone who calls it, a body that it accepts, and patience."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from emulators.runpod import RunPodEmulator

L4 = "NVIDIA L4"
H100 = "NVIDIA H100 80GB HBM3"


class Caller:
    """Someone with a key and a name; by default the owner of the account. Paths are of the API v2."""

    def __init__(self, cloud: RunPodEmulator, key: str = "", user_agent: str = "tests/1") -> None:
        self.cloud = cloud
        self.headers = {"Authorization": f"Bearer {key or cloud.key}", "User-Agent": user_agent}

    def __call__(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        return self.at(method, f"/v2{path}", body, **options)

    def at(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """Of any path."""
        url = f"{self.cloud.url}{path}"
        return httpx.request(method, url, json=body, headers=self.headers, verify=False, **options)

    def create(self, **more: object) -> httpx.Response:
        return self("POST", "/pods", new_pod(**more))

    def pod(self, id_: str) -> Any:
        return self("GET", f"/pods/{id_}").json()

    def pods(self) -> Any:
        return self("GET", "/pods").json()["pods"]

    def card(self, gpu: str, query: str = "") -> Any:
        """A card of the catalogue, with its stock."""
        return self("GET", f"/catalog/gpus/{gpu}?include=AVAILABILITY&product=POD{query}").json()


def new_pod(**more: object) -> dict[str, object]:
    """A body that is accepted, changed; what is None is left out."""
    body: dict[str, object] = {"name": "gpu-a", "image": "vllm/vllm-openai:v0.32.0", "cloud": "SECURE", "disk": 50}
    body |= {"gpu": {"id": L4, "count": 1}, "ports": ["8000/http"], "env": {"A": "1"}} | more
    return {name: value for name, value in body.items() if value is not None}


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Returns once it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
