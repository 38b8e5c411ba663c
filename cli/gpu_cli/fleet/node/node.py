"""What runs on a rented machine, made into a launch request: a supervised container, or a serverless endpoint."""

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.node.image import engine_image
from gpu_cli.fleet.node.slim import slimmed
from gpu_cli.fleet.node.supervised import (
    ENGINE,
    QUIET_ENGINE,
    engine_args_on,
    labels_of,
    sized_flags,
    supervisor_config,
)
from gpu_cli.paths import shipped
from gpu_cli.planner.engine.engine_args import model_args
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe
from gpu_cli.weights import fetcher
from gpu_cli.weights.hub_cache import VOLUME_HOME
from gpu_cli.weights.source import Scheme, Source
from gpu_providers.base import Kind, LaunchRequest, Link, Provider, Secret, VolumeStore

PORT = 8000
ANY_HOST = "0.0.0.0"  # noqa: S104 - in a container, whose proxy has to reach it
WEIGHTS_PLACEHOLDER = "{weights}"
"""Stands in the engine's command for the folder that only the node knows (`templates/engine_start.py`)."""
TLS_PLACEHOLDER = "{tls}"
"""As above, for the file of certificate and private key."""

ENGINE_DISK_GIB = 25.0
"""Room for what the engine compiles and caches, and for its unpacked image where a cloud counts that; a prior."""
WEIGHTS_SPARE = 1.1
"""On top of the weights, for what a repository holds besides; a prior."""
SMALLEST_DISK_GIB = 40

_SECRETS: Mapping[Scheme, tuple[str, ...]] = {
    Scheme.HUGGING_FACE: ("HF_TOKEN",),
    Scheme.MODELSCOPE: ("MODELSCOPE_API_TOKEN",),
    Scheme.S3: (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ),
}
"""Credentials of the places that weights come from, with what they are no use without."""


def disk_gib(weights_gib: float, recipe: Recipe) -> int:
    """What a node needs of disk, GiB. Weights of 0 are of unknown size.

    What does not come from a hub may lie there twice: packed and unpacked, or as it came and as it is loaded.
    """
    hubs = (Scheme.HUGGING_FACE, Scheme.MODELSCOPE)
    copies = 1 if all(source.scheme in hubs for source in recipe.weights) else 2
    return max(SMALLEST_DISK_GIB, math.ceil(ENGINE_DISK_GIB + WEIGHTS_SPARE * copies * weights_gib))


def check_remote(recipe: Recipe, candidate: Candidate, provider: Provider) -> None:
    """Refuse, before anything is ordered, what a rented machine could not start. Raises UserError."""
    volume_of(recipe, provider)
    sources_of(recipe, provider)
    if candidate.offer.kind is Kind.SERVERLESS:
        hub_model(recipe)


def container_request(
    fleet: Fleet, recipe: Recipe, deployment: Deployment, candidate: Candidate, key: Secret
) -> LaunchRequest:
    """The launch of a container or VM: the supervisor, which gets the weights and starts the engine."""
    recipe, provider = with_own_template(recipe), fleet.provider(candidate.offer.provider)
    sources, gpu_count = sources_of(recipe, provider), candidate.offer.gpu_count
    weights = {
        "sources": [(source.scheme, source.location) for source in sources],
        "revision": recipe.revision,
        "folder": "weights",
    }
    args = engine_args_on(candidate, recipe, model=WEIGHTS_PLACEHOLDER, host=ANY_HOST, port=PORT)
    supervisor = supervisor_config(
        deployment,
        fleet.clock,
        engine=("python3", "engine_start.py", str(gpu_count), "python3", *ENGINE, *args, *_tls_args(deployment)),
        port=PORT,
        scheme="https" if deployment.link is Link.TLS else "http",
        destruction=provider.self_destruction(recipe.providers.get(provider.name, {})),
        launched_at=deployment.launched_at,
    )
    ordered = _ordered(recipe, deployment, candidate, provider)
    return replace(
        ordered,
        entrypoint=("python3",),
        command=("-c", slimmed(template("bootstrap.py"))),
        env={
            **ordered.env,
            "GPU_NODE": packed_node(),
            "GPU_WEIGHTS": json.dumps(weights),
            "GPU_SUPERVISOR": supervisor,
        },
        secret_env={"VLLM_API_KEY": key, **_tls_secret(fleet, deployment), **dict(secrets_of(fleet, sources))},
        older_image=engine_image(recipe.engine.version).older,
        public=deployment.link is Link.DIRECT,
    )


def serverless_request(
    fleet: Fleet, recipe: Recipe, deployment: Deployment, candidate: Candidate, key: Secret | None
) -> LaunchRequest:
    """The launch of an endpoint whose workers the cloud starts and stops: `vllm serve`, of which `command` has the
    arguments, as the image's own entrypoint or started by `entry`.

    `key` is the engine's; None where the cloud's edge has one of its own.
    """
    recipe, provider = with_own_template(recipe), fleet.provider(candidate.offer.provider)
    source, gpu_count = hub_model(recipe), max(1, candidate.offer.gpu_count)
    revision = ("--revision", recipe.revision) if recipe.revision else ()
    args = model_args(recipe, gpu_count=gpu_count, sized=sized_flags(candidate))
    ordered = _ordered(recipe, deployment, candidate, provider)
    return replace(
        ordered,
        # Without `--host` vLLM listens on all addresses.
        command=(source.location, *revision, "--port", str(PORT), *args),
        secret_env={**({"VLLM_API_KEY": key} if key else {}), **dict(secrets_of(fleet, [source]))},
        idle_s=deployment.idle_s,
        start_s=deployment.start_deadline_at - fleet.clock.now(),
        concurrency=recipe.concurrency,
        most_concurrency=(candidate.sizing.settings.max_num_seqs or 0) if candidate.sizing else 0,
        entry=shipped("templates") / "modal_entry.py",
    )


def _ordered(recipe: Recipe, deployment: Deployment, candidate: Candidate, provider: Provider) -> LaunchRequest:
    """What is ordered, whatever it will run."""
    offer, image = candidate.offer, engine_image(recipe.engine.version)
    weights_gib = candidate.weights_gib or offer.gpu_count * offer.gpu_memory_gib
    return LaunchRequest(
        name=deployment.resource_name,
        offer=offer,
        image=image.reference,
        command=(),
        env={**QUIET_ENGINE, **hub_cache(recipe, provider), **recipe.engine.env},
        secret_env={},
        port=PORT,
        disk_gib=disk_gib(weights_gib, recipe),
        labels=labels_of(deployment),
        options=recipe.providers.get(offer.provider, {}),
        min_cuda_version=image.min_cuda_version,
        volume=volume_of(recipe, provider),
    )


def _tls_args(deployment: Deployment) -> tuple[str, ...]:
    """vLLM's arguments for serving TLS itself: certificate and private key may be in one file."""
    if deployment.link is not Link.TLS:
        return ()
    return ("--ssl-certfile", TLS_PLACEHOLDER, "--ssl-keyfile", TLS_PLACEHOLDER)


def _tls_secret(fleet: Fleet, deployment: Deployment) -> Mapping[str, Secret]:
    """The certificate made for this deployment, with its private key, which is kept nowhere on this side."""
    if deployment.link is not Link.TLS:
        return {}
    return {"GPU_TLS": fleet.certificates.create(deployment.resource_name, deployment.deadline_at)}


@cache
def packed_node() -> str:
    """The files that the bootstrap unpacks, as it expects them, in as few characters as they can be: some clouds take
    32 kB of environment.
    """
    files = {
        "supervisor.py": template("supervisor.py"),
        "engine_start.py": template("engine_start.py"),
        # Folders of their own: what lies beside a script that Python runs can hide the modules that the script imports.
        "fetch/fetcher.py": Path(fetcher.__file__).read_text(encoding="utf-8"),
        "engine/guard_middleware.py": template("guard_middleware.py"),
    }
    slim = {name: slimmed(text) for name, text in files.items()}
    return base64.b64encode(zlib.compress(json.dumps(slim).encode(), 9)).decode()


def template(name: str) -> str:
    """Its text."""
    return (shipped("templates") / name).read_text(encoding="utf-8")


def volume_of(recipe: Recipe, provider: Provider) -> str:
    """The network volume that the recipe names for this provider; empty for none. Raises UserError."""
    volume = recipe.cache.get(provider.name, "")
    if volume and not isinstance(provider, VolumeStore):
        message = f"the recipe names a volume for {provider.name}, which has no network volumes"
        raise UserError(Exit.BAD_INPUT, "no-volumes", message, hint=f"take {provider.name} out of `cache`")
    return volume


def hub_cache(recipe: Recipe, provider: Provider) -> Mapping[str, str]:
    """Hugging Face's cache is on the volume, if there is one."""
    if volume_of(recipe, provider) and isinstance(provider, VolumeStore):
        return {"HF_HOME": f"{provider.volume_path}/{VOLUME_HOME}"}
    return {}


def sources_of(recipe: Recipe, provider: Provider) -> list[Source]:
    """The places that a rented machine can reach: a path there is one on its volume. Raises UserError for none."""
    volume = f"{provider.volume_path}/" if isinstance(provider, VolumeStore) and volume_of(recipe, provider) else ""

    def is_there(source: Source) -> bool:
        return source.scheme is not Scheme.PATH or bool(volume and source.location.startswith(volume))

    sources = [source for source in recipe.weights if is_there(source)]
    if not sources:
        hint = "name a place in `weights` that it can reach, such as ORG/MODEL or s3://BUCKET/PREFIX"
        message = f"the weights are on this machine only, where {provider.name} cannot reach them"
        raise UserError(Exit.BAD_INPUT, "weights-out-of-reach", message, hint=hint)
    return sources


def hub_model(recipe: Recipe) -> Source:
    """Where `vllm serve` gets the weights by itself. Raises UserError when the recipe has no such place."""
    for source in recipe.weights:
        if source.scheme is Scheme.HUGGING_FACE:
            return source
    message = "serverless needs hub weights: its workers load the model from Hugging Face by themselves"
    hint = "name ORG/MODEL in `weights`, or rent a pod"
    raise UserError(Exit.BAD_INPUT, "serverless-weights", message, hint=hint)


def with_own_template(recipe: Recipe) -> Recipe:
    """With the text of a chat template that is a file of this machine."""
    path = Path(recipe.chat_template) if recipe.chat_template and "\n" not in recipe.chat_template else None
    if path is None or not path.is_file():
        return recipe
    return recipe.model_copy(update={"chat_template": path.read_text(encoding="utf-8")})


def secrets_of(fleet: Fleet, sources: list[Source]) -> Iterator[tuple[str, Secret]]:
    """The user's credentials for these places, as far as they are set."""
    for scheme in {source.scheme for source in sources}:
        for name in _SECRETS.get(scheme, ()):
            if value := fleet.environ.get(name):
                yield name, Secret(value)
