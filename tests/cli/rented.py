"""What the tests of rented machines look for at the emulated RunPod."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from driver import Gpu, Ran
from emulators.runpod import RunPodEmulator
from emulators.server import Request


@dataclass
class Kept:
    """A home that outlives a test: what its first test brings up, the others look at."""

    gpu: Gpu
    up: Ran | None = None


def point_at(cloud: RunPodEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the program use this cloud, and look at it more often than the real one would like."""
    for name, value in {**cloud.env, "GPU_RUNPOD_POLL_S": "0.2"}.items():
        monkeypatch.setenv(name, value)


def up(gpu: Gpu, recipe: str, *options: str) -> Ran:
    """`gpu up` at RunPod."""
    return gpu("up", recipe, "--provider", "runpod", "--json", *options)


def asked(cloud: RunPodEmulator, method: str, path: str) -> list[Request]:
    """The requests so far to this path of the API, or below it where it ends with a slash."""
    path = f"/v2/{path}"
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


def billed(cloud: RunPodEmulator, resource_id: str) -> Any:
    """The line of the bill: whether it is alive, and what it has cost."""
    (line,) = (line for line in cloud.bill()["resources"] if line["id"] == resource_id)
    return line
