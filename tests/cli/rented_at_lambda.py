"""What the tests of rented machines look for at the emulated Lambda."""

from functools import partial
from pathlib import Path
from typing import Any

import rented
from driver import Gpu
from emulators.lambda_cloud import LambdaEmulator
from emulators.server import Request
from rented import asked

up = partial(rented.up, provider="lambda")
"""`gpu up` at Lambda."""


def launches(cloud: LambdaEmulator) -> list[Any]:
    """The bodies of the launches, refused ones included."""
    return [request.json() for request in asked(cloud, "POST", "instance-operations/launch")]


def places(cloud: LambdaEmulator) -> list[str]:
    """Where they were to be."""
    return [f"{body['instance_type_name']}@{body['region_name']}" for body in launches(cloud)]


def terminations(cloud: LambdaEmulator) -> list[Request]:
    """The requests to end something."""
    return asked(cloud, "POST", "instance-operations/terminate")


def ended(cloud: LambdaEmulator) -> list[str]:
    """The ids of the instances that were asked to end, each once."""
    return list(dict.fromkeys(id_ for request in terminations(cloud) for id_ in request.json()["instance_ids"]))


def living(cloud: LambdaEmulator) -> list[str]:
    """The ids of the instances that exist, and may bill."""
    with cloud.lock:
        return [instance.id for instance in cloud.instances]


def kept_here(gpu: Gpu) -> list[Path]:
    """The folders of the machines that this home knows something of."""
    return sorted((gpu.home / "state" / "providers" / "lambda" / "machines").glob("gpu-*"))
