"""What every supervised engine has in common, wherever it runs: its arguments, its environment and its supervisor's
configuration.
"""

import json
from collections.abc import Mapping, Sequence

from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.planner.engine.engine_args import engine_args
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import RESOURCE_PREFIX, SelfDestruction

ENGINE = ("-m", "vllm.entrypoints.openai.api_server")
HUNG_S = 600.0
"""How long an engine may be silent, or busy without getting anywhere, before it counts as dead."""

QUIET_ENGINE = {
    "VLLM_NO_USAGE_STATS": "1",
    # vLLM asks for its own modules only; what the user's site adds could shadow them.
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
}


def resource_name(name: str, unique: str) -> str:
    """Unique for ever, and short enough for every cloud."""
    return f"{RESOURCE_PREFIX}{name[:40].rstrip('.-').replace('.', '-')}-{unique}"


def engine_args_on(candidate: Candidate, recipe: Recipe, *, model: str, host: str, port: int) -> tuple[str, ...]:
    """vLLM's arguments for the recipe on this candidate."""
    gpu_count = max(1, candidate.offer.gpu_count)
    return engine_args(recipe, model=model, host=host, port=port, gpu_count=gpu_count, sized=sized_flags(candidate))


def sized_flags(candidate: Candidate) -> Sequence[str] | None:
    """The flags that the planner chose; None where nothing was sized."""
    return candidate.configuration.flags if candidate.configuration else None


def supervisor_config(
    deployment: Deployment,
    clock: Clock,
    *,
    engine: Sequence[str],
    port: int,
    scheme: str = "http",
    destruction: SelfDestruction | None = None,
    launched_at: float | None = None,
) -> str:
    """The supervisor's configuration (`templates/supervisor.py`), JSON without secrets.

    `scheme` is how the engine serves, `http` or `https`. The supervisor's state goes to `supervisor`, below the folder
    in which it is started.
    """
    now = clock.now()
    config = {
        "version": 1,
        "name": deployment.resource_name,
        "engine": engine,
        "port": port,
        "scheme": scheme,
        "idle_s": deployment.idle_s,
        "deadline_s": max(1.0, deployment.deadline_at - now),
        "start_deadline_s": max(1.0, deployment.start_deadline_at - now),
        "hung_s": HUNG_S,
        "launched_at": launched_at,
        "state_dir": "supervisor",
        "destroy": destruction and _destroy(destruction),
        "engine_env_without": destruction.credential_variables if destruction else [],
    }
    return json.dumps(config)


def labels_of(deployment: Deployment) -> Mapping[str, str]:
    """What a store that was lost is rebuilt from."""
    return {
        "name": deployment.name,
        "recipe": deployment.recipe,
        "recipe_digest": deployment.recipe_digest,
        "model": deployment.model,
        "kind": deployment.kind,
        "gpu": deployment.gpu,
        "gpu_count": str(deployment.gpu_count),
        "region": deployment.region,
        "host": deployment.host,
        "link": deployment.link,
        "idle_s": str(deployment.idle_s),
        "deadline_at": str(deployment.deadline_at),
        "start_deadline_at": str(deployment.start_deadline_at),
        "budget_usd": "" if deployment.budget_usd is None else str(deployment.budget_usd),
    }


def _destroy(destruction: SelfDestruction) -> Mapping[str, object]:
    return {
        "method": destruction.method,
        "url": destruction.url,
        "headers": dict(destruction.headers),
        "body": destruction.body,
        "user_agent": destruction.user_agent,
        "check": {"method": destruction.check_method, "url": destruction.check_url},
        "gone": list(destruction.gone.items()),
    }
