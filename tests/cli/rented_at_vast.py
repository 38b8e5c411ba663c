"""What the tests of rented machines look for at the emulated Vast.ai."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import rented
from emulators.vast import VastEmulator
from emulators.vast.instances import Instance
from rented import asked

from gpu_providers.vast.unpack import unpack

up = partial(rented.up, provider="vast")
"""`gpu up` at Vast.ai."""


def created(cloud: VastEmulator) -> list[Any]:
    """The bodies of the creates."""
    return [request.json() for request in asked(cloud, "PUT", "v0/asks/")]


def destroyed(cloud: VastEmulator) -> list[str]:
    """The ids of the instances that were asked to end, each once."""
    return list(dict.fromkeys(request.path.split("/")[-2] for request in asked(cloud, "DELETE", "v0/instances/")))


def searches(cloud: VastEmulator) -> list[Any]:
    """The queries for offers."""
    return [request.json() for request in asked(cloud, "POST", "v0/bundles/")]


def parcel(body: Any) -> tuple[Mapping[str, str], Sequence[str]]:
    """The environment and the command that a create brings."""
    return unpack({name: value for name, value in body["env"].items() if not name.startswith("-")})


def living(cloud: VastEmulator) -> list[str]:
    """The ids of what exists, and may bill."""
    return [line["id"] for line in cloud.bill()["resources"] if line["alive"]]


def made(cloud: VastEmulator) -> list[Instance]:
    """The instances of these creates, the oldest first, be they gone."""
    labels = {body["label"] for body in created(cloud)}
    with cloud.lock:
        return [instance for instance in cloud.instances.on_record() if instance.label in labels]


def machines(cloud: VastEmulator) -> list[str]:
    """On which they are or were."""
    return [str(instance.terms.ask.machine.id) for instance in made(cloud)]
