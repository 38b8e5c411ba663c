"""All that is asked of Modal for one app, computed from a launch: nobody is called for it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpu_providers.base import LaunchRequest, Secret
from gpu_providers.errors import InvalidRequest
from gpu_providers.modal_cloud.cards import gpu_string
from gpu_providers.modal_cloud.offers import resources_of
from gpu_providers.modal_cloud.options import Endpoint, Options
from gpu_providers.modal_cloud.tags import Facts, encoded
from gpu_providers.modal_cloud.volumes import VOLUME_PATH

SHORTEST_IDLE_S, LONGEST_IDLE_S = 2, 3600
"""After how long without a request Modal can end a container (the SDK: modal/_functions.py, 1.6.4)."""
USUAL_START_S = 3600
"""How long a start may take where the launch does not say."""
LONGEST_S = 86400
"""A start, or a request (modal.com/docs, guide/timeouts)."""
MOST_INPUTS = 1000
"""Requests at once in one container (modal.com/docs, guide/concurrent-inputs)."""
_USUAL_INPUTS = 100
_USUAL_VOLUME = "gpu-models"
_CACHE_VOLUME, _CACHE_PATH = "gpu-cache", "/cache"
_MIB_PER_GIB = 1024

_ENTRYPOINT = ("vllm", "serve")
"""That of vLLM's images (vllm-project/vllm, docker/Dockerfile), where the launch leaves the image's own in place."""
_ENVIRONMENT = {
    "HF_HOME": f"{VOLUME_PATH}/huggingface",
    # What vLLM compiles, with the caches of Inductor, Triton and DeepGEMM below it, apart for each rank. Triton's own
    # is not shared beyond that: eight ranks on one volume have been seen to crash over its lock.
    "VLLM_CACHE_ROOT": f"{_CACHE_PATH}/vllm",
    "FLASHINFER_WORKSPACE_BASE": _CACHE_PATH,
}
"""Unless the launch says otherwise: what takes long to get outlives the container."""

_ENGINE_KEY = "VLLM_API_KEY"
_OWN_GUARD = ("--middleware", "guard_middleware.GuardMiddleware")
"""The engine asks for its key on every route, which vLLM's own check does not (`templates/guard_middleware.py`)."""


@dataclass(frozen=True)
class Blueprint:
    """One app with one function or Server, in Modal's terms and units."""

    name: str
    tags: Mapping[str, str]
    endpoint: Endpoint
    entry: Path
    """The Python file with the function and the Server."""
    beside: tuple[Path, ...]
    """Further files that go where the entry goes."""
    image: str
    registry_secret: str
    """Name of the Secret with which the image is fetched; empty for none."""
    env: Mapping[str, str]
    secrets: Mapping[str, Secret]
    port: int
    guarded: bool
    """Modal's edge demands a proxy token, before any container hears of a request."""
    gpu: str | list[str]
    """Several are tried in this order whenever a container is to start."""
    cpu: float
    memory_mib: int
    volumes: Mapping[str, str]
    """Names by the paths where they are mounted; made where they are missing."""
    regions: tuple[str, ...]
    """Empty for anywhere."""
    max_containers: int
    scaledown_window_s: int
    startup_timeout_s: int
    timeout_s: int
    """Of a request, with all that it streams; never shorter than the start that it may have to wait for."""
    max_inputs: int
    target_inputs: int | None
    """Beyond so many requests at once another container is started; None for as many as one may have."""


def blueprint(request: LaunchRequest, options: Options, *, guarded: bool = True) -> Blueprint:
    """Raises InvalidRequest for what Modal cannot do, and for an app without a guard whose engine has no key."""
    entry, cores_and_gib = _entry(request), resources_of(options, request.offer.gpu_count)
    startup_timeout_s = min(math.ceil(request.start_s) or USUAL_START_S, LONGEST_S)
    max_inputs = min(max(request.most_concurrency, request.concurrency) or _USUAL_INPUTS, MOST_INPUTS)
    return Blueprint(
        name=request.name,
        tags=_tags(request, options),
        endpoint=options.endpoint,
        entry=entry,
        beside=() if guarded else (entry.with_name("guard_middleware.py"),),
        image=request.image,
        registry_secret=options.registry_secret,
        env={**_ENVIRONMENT, **request.env, "GPU_COMMAND": _command(request, guarded=guarded)},
        secrets=_secrets(request, guarded=guarded),
        port=request.port,
        guarded=guarded,
        gpu=_gpu(request),
        cpu=cores_and_gib[0],
        memory_mib=math.ceil(cores_and_gib[1] * _MIB_PER_GIB),
        volumes={VOLUME_PATH: request.volume or _USUAL_VOLUME, _CACHE_PATH: _CACHE_VOLUME},
        regions=request.regions or options.regions,
        max_containers=options.max_containers,
        scaledown_window_s=_scaledown_window_s(request.idle_s),
        startup_timeout_s=startup_timeout_s,
        timeout_s=max(options.timeout_s, startup_timeout_s),
        max_inputs=max_inputs,
        target_inputs=min(request.concurrency, max_inputs) or None,
    )


def _tags(request: LaunchRequest, options: Options) -> Mapping[str, str]:
    facts = Facts(request.offer.price_usd_per_hour, options.endpoint, options.max_containers)
    return encoded({**request.labels, **facts.labels()})


def _entry(request: LaunchRequest) -> Path:
    if request.entry is None:
        raise InvalidRequest("Modal runs a Python file, and the launch names none")
    return request.entry


def _command(request: LaunchRequest, *, guarded: bool) -> str:
    own_guard = () if guarded else _OWN_GUARD
    return json.dumps([*(request.entrypoint or _ENTRYPOINT), *request.command, *own_guard])


def _secrets(request: LaunchRequest, *, guarded: bool) -> Mapping[str, Secret]:
    """The engine has a key only where the edge asks for none: a request carries one."""
    if guarded:
        return {name: value for name, value in request.secret_env.items() if name != _ENGINE_KEY}
    if _ENGINE_KEY not in request.secret_env:
        raise InvalidRequest("Modal's edge checks no key here, and the engine has no key of its own")
    return request.secret_env


def _gpu(request: LaunchRequest) -> str | list[str]:
    offers = (request.offer, *request.instead)
    choices = list(dict.fromkeys(gpu_string(offer.gpu, offer.gpu_count) for offer in offers))
    return choices if len(choices) > 1 else choices[0]


def _scaledown_window_s(idle_s: float) -> int:
    """The longest that Modal has, for more: to keep a container for longer is somebody else's business."""
    if idle_s < SHORTEST_IDLE_S:
        hint = f"give an idle limit of {SHORTEST_IDLE_S} s or more: --idle 15m"
        raise InvalidRequest(f"Modal cannot end a container after {idle_s:g} s without a request", hint=hint)
    return min(math.ceil(idle_s), LONGEST_IDLE_S)
