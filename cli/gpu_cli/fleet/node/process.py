"""The launch of a process on this machine: engine, weights and middleware are made ready here, on first use."""

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gpu_cli.engine.build import build_for
from gpu_cli.engine.environment import Engines
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.node.supervised import ENGINE, QUIET_ENGINE, engine_args_on, labels_of, supervisor_config
from gpu_cli.paths import shipped
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe
from gpu_cli.state_files import kept_in
from gpu_cli.ui.progress import Progress
from gpu_cli.weights.fetch import fetch
from gpu_providers.base import LaunchRequest, Offer, Secret

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Prepared:
    """Everything that is needed before a process of this machine can be started."""

    python: Path
    model: Path
    port: int
    note: str
    """What the user should know about the weights; may be empty."""


def prepare_process(fleet: Fleet, recipe: Recipe, offer: Offer, progress: Progress) -> Prepared:
    """Engine environment and weights on this machine, made on first use. Raises UserError."""
    build = build_for(recipe.engine.version, gpu_count=offer.gpu_count)
    progress.stage("install")
    engine = Engines(fleet.paths.cache).ensure(build, progress)
    progress.stage("weights")
    weights = fetch(
        recipe.weights,
        revision=recipe.revision,
        engine=engine,
        cache=fleet.paths.cache,
        environ=fleet.environ,
        progress=progress,
    )
    return Prepared(engine.python, weights.path, _port(recipe, offer), weights.note)


def process_request(
    fleet: Fleet, recipe: Recipe, deployment: Deployment, candidate: Candidate, prepared: Prepared, key: Secret
) -> LaunchRequest:
    """The launch of a process on this machine: the supervisor, which starts the engine."""
    offer = candidate.offer
    args = engine_args_on(candidate, recipe, model=str(prepared.model), host=LOOPBACK, port=prepared.port)
    engine = (str(prepared.python), *ENGINE, *args)
    return LaunchRequest(
        name=deployment.resource_name,
        offer=offer,
        image="",
        command=(str(prepared.python), str(shipped("templates") / "supervisor.py")),
        env={
            **QUIET_ENGINE,
            "HF_HUB_OFFLINE": "1",
            # Empty is unset: an engine that may not keep what it has compiled starts slowly every time.
            "PYTHONDONTWRITEBYTECODE": "",
            **recipe.engine.env,
            "PYTHONPATH": str(_middleware_folder(fleet.paths.state)),
            "GPU_SUPERVISOR": supervisor_config(deployment, fleet.clock, engine=engine, port=prepared.port),
        },
        secret_env={"VLLM_API_KEY": key},
        port=prepared.port,
        disk_gib=0,
        labels=labels_of(deployment),
        options=recipe.providers.get(offer.provider, {}),
    )


def _port(recipe: Recipe, offer: Offer) -> int:
    """The recipe's, or a free one. All programs of a machine share its ports, so one has to be found."""
    wanted = recipe.providers.get(offer.provider, {}).get("port")
    if isinstance(wanted, int):
        return wanted
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _middleware_folder(state: Path) -> Path:
    """The middleware in a folder of its own: beside it, our `supervisor.py` would hide the package of that name,
    which vLLM's dependencies import.
    """
    folder = state / "engine_path"
    target = folder / "guard_middleware.py"
    with kept_in(target):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        shutil.copyfile(shipped("templates") / "guard_middleware.py", temporary)
        Path(temporary).replace(target)
    return folder
