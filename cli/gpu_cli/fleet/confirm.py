"""Confirming, before an endpoint is printed, that it will end without this side: by its own supervisor or its cloud."""

from collections.abc import Callable, Mapping
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.fleet import Fleet
from gpu_providers.base import Kind
from gpu_providers.errors import ProviderError

CONFIRM_DEADLINE_S = 20.0
FRESH_S = 60.0
"""An engine that streams at full speed can keep a supervisor on two cores from writing for a dozen seconds."""


def confirm_own_stop(fleet: Fleet, client: EngineClient, deployment: Deployment) -> None:
    """Raises UserError NEVER_HEALTHY when the word does not come."""
    if deployment.kind is Kind.SERVERLESS:
        _confirm(fleet, deployment, f"{deployment.provider}", lambda: _why_cloud_unarmed(fleet, deployment))
    else:
        _confirm(fleet, deployment, "the supervisor", lambda: _why_supervisor_unarmed(fleet, client, deployment))


def _confirm(fleet: Fleet, deployment: Deployment, who: str, why_not: Callable[[], str]) -> None:
    give_up_at = fleet.clock.now() + CONFIRM_DEADLINE_S
    while problem := why_not():
        if fleet.clock.now() >= give_up_at:
            raise UserError(
                Exit.NEVER_HEALTHY,
                "stops-unconfirmed",
                f"{who} of {deployment.name} did not confirm what will end it: {problem}",
                hint="nothing that cannot end itself is left running; try again, and report it if it happens again",
            )
        fleet.clock.sleep(0.3)


def _why_supervisor_unarmed(fleet: Fleet, client: EngineClient, deployment: Deployment) -> str:
    """Empty when its own word is that it runs and knows its limits."""
    try:
        status = client.supervisor()
    except (EngineUnreachable, EngineRefused) as error:
        return str(error)
    return "" if _is_armed(status, deployment, fleet.clock.now()) else f"it says {dict(status)}"


def _is_armed(status: Mapping[str, Any], deployment: Deployment, now: float) -> bool:
    """Whether it is alive, and will end the deployment at the same idleness and no later than the deadline."""
    try:
        left_s = float(status["deadline_s"]) - float(status["elapsed_s"])
        fresh = float(status["beat_age_s"]) <= FRESH_S
    except (KeyError, TypeError, ValueError):
        return False
    in_time = now + left_s <= deployment.deadline_at + FRESH_S
    return fresh and in_time and status.get("idle_s") == deployment.idle_s and status.get("reason") is None


def _why_cloud_unarmed(fleet: Fleet, deployment: Deployment) -> str:
    """Empty when the cloud reads back that idle workers end as soon as they should."""
    try:
        native_idle_s = fleet.provider(deployment.provider).describe(deployment.resource_id).native_idle_s
    except ProviderError as error:
        return error.message
    if native_idle_s is None:
        return "it does not say when idle workers end"
    # Clouds take whole seconds.
    return "" if native_idle_s < deployment.idle_s + 1 else f"it ends idle workers after {native_idle_s:g} s only"
