"""What the tests of rented machines look for at an emulated cloud; by itself it is RunPod."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from driver import Gpu, Ran
from emulators.cloud import Cloud
from emulators.lambda_cloud import LambdaEmulator
from emulators.runpod import RunPodEmulator
from emulators.server import Request
from emulators.vast import VastEmulator

_API: Mapping[type[Cloud], str] = {RunPodEmulator: "/v2/", VastEmulator: "/api/", LambdaEmulator: "/api/v1/"}
_POLL = {"GPU_RUNPOD_POLL_S": "0.2", "GPU_VAST_POLL_S": "0.2", "GPU_LAMBDA_POLL_S": "0.2", "GPU_MODAL_POLL_S": "0.2"}


@dataclass
class Kept:
    """A home that outlives a test: what its first test brings up, the others look at."""

    gpu: Gpu
    up: Ran | None = None


def point_at(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the program use this cloud, and look at it more often than the real one would like."""
    for name, value in {**cloud.env, **_POLL}.items():
        monkeypatch.setenv(name, value)


def up(gpu: Gpu, recipe: str, *options: str, provider: str = "runpod") -> Ran:
    """`gpu up` at that cloud."""
    return gpu("up", recipe, "--provider", provider, "--json", *options)


def asked(cloud: Cloud, method: str, path: str) -> list[Request]:
    """The requests so far to this path of the API, or below it where it ends with a slash."""
    path = f"{_API[type(cloud)]}{path}"
    return [
        request
        for request in list(cloud.requests)
        if request.method == method and (request.path == path or (path.endswith("/") and request.path.startswith(path)))
    ]


def created(cloud: RunPodEmulator) -> list[Any]:
    """The bodies of the creates of pods."""
    return [request.json() for request in asked(cloud, "POST", "pods")]


def cards(bodies: Sequence[Any]) -> list[str]:
    """Which GPUs they ask for."""
    return [body["gpu"]["id"] for body in bodies]


def supervisor_of(body: Any) -> Any:
    """The configuration of the supervisor that a create brings."""
    return json.loads(body["env"]["GPU_SUPERVISOR"])


def billed(cloud: Cloud, resource_id: str) -> Any:
    """The line of the bill: whether it is alive, and what it has cost."""
    (line,) = (line for line in cloud.bill()["resources"] if line["id"] == resource_id)
    return line
