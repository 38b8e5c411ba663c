"""What the tests of Modal as a whole look for at the emulated one."""

from functools import partial
from pathlib import Path
from typing import Any

import rented
from driver import Gpu, wait_until
from emulators.modal_cloud import ModalEmulator
from emulators.modal_cloud.containers import Container

up = partial(rented.up, provider="modal")
"""`gpu up` at Modal."""


def ordered(cloud: ModalEmulator) -> Any:
    """The last function that was created (a FunctionCreateRequest); there must be one."""
    with cloud.lock:
        return cloud.functions_created[-1]


def gpus(cloud: ModalEmulator) -> list[str]:
    """The cards that were ordered, one word for each function: `H100!:2`, or `H100!:1 H200:1` for a choice."""
    with cloud.lock:
        requests = [*cloud.functions_created]
    return [" ".join(_gpus(request)) for request in requests]


def _gpus(request: Any) -> list[str]:
    ranked = sorted(request.function_data.ranked_functions, key=lambda one: one.rank)
    functions = [one.function for one in ranked] or [request.function]
    configs = [function.resources.gpu_config for function in functions]
    return [f"{config.gpu_type}:{config.count}" for config in configs]


def tokens(cloud: ModalEmulator) -> list[str]:
    """The names of the proxy tokens that there are."""
    with cloud.lock:
        return [token.name for token in cloud.proxy_tokens]


def running(cloud: ModalEmulator) -> list[Container]:
    """The containers that bill."""
    return [container for container in cloud.live_containers() if container.started_at]


def asked(cloud: ModalEmulator) -> list[str]:
    """The requests to endpoints, also those that the edge refused."""
    return [*cloud.edge.asked]


def redirected(cloud: ModalEmulator) -> int:
    """How many requests came because the edge had sent somebody on to their answer."""
    return sum("__modal_function_call_id=" in one for one in asked(cloud))


def volumes(cloud: ModalEmulator) -> list[str]:
    """Their names."""
    with cloud.lock:
        return [volume.name for volume in cloud.volumes]


def environment(cloud: ModalEmulator) -> dict[str, str]:
    """That of the containers of the last function that was created."""
    request = ordered(cloud)
    ranked = request.function_data.ranked_functions
    function = ranked[0].function if ranked else request.function
    with cloud.lock:
        told: dict[str, str] = cloud.secret_store.environment(function.secret_ids)
    return told


def assert_nothing_is_left(cloud: ModalEmulator, gpu: Gpu) -> None:
    """No app and no container, and soon no token: it is forgotten once it is on record that its app is gone."""
    assert [one for one in cloud.bill()["resources"] if one["alive"]] == cloud.live_containers() == []
    wait_until(lambda: not (tokens(cloud) or kept_here(gpu)))


def kept_here(gpu: Gpu) -> list[Path]:
    """The files of the tokens that this home has."""
    return sorted((gpu.home / "state" / "providers" / "modal" / "tokens").glob("gpu-*"))
