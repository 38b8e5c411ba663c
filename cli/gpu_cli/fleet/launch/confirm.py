"""Confirming, before an endpoint is printed, what will end it without this side: its own supervisor or its cloud."""

from collections.abc import Callable, Mapping
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.stops import stops_of
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.keep_warm import is_kept_warm
from gpu_cli.fleet.guard.keepers import keepers
from gpu_cli.fleet.guard.process import guard_lives
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_duration
from gpu_providers.base import Kind
from gpu_providers.errors import ProviderError

CONFIRM_DEADLINE_S = 20.0
FRESH_S = 60.0
"""An engine that streams at full speed can keep a supervisor on two cores from writing for a dozen seconds."""


class _Unconfirmed(Exception):
    """The word did not come, or was not the right one; the text says how."""


def confirm_own_stop(fleet: Fleet, client: EngineClient, deployment: Deployment, progress: Progress) -> bool:
    """Whether it will end without this side. The user is told where its supervisor lacks means that it should have.

    Raises UserError NEVER_HEALTHY when nobody confirms its limits.
    """
    if deployment.kind is Kind.SERVERLESS:
        return _confirmed(fleet, deployment, deployment.provider, lambda: _cloud_ends_it(fleet, deployment, progress))
    ends_it = _confirmed(
        fleet, deployment, "the supervisor", lambda: _supervisor_ends_it(client, deployment, fleet.clock.now())
    )
    if not ends_it and _usually_can(fleet, deployment):
        progress.note(f"{deployment.name} cannot destroy itself: {deployment.provider} gave it no credential for that")
    return ends_it


def check_ended_by_something(fleet: Fleet, deployment: Deployment) -> None:
    """Raises UserError CLEANUP_UNCONFIRMED for one that lives while nothing will end it."""
    stops = stops_of(deployment, guard_lives=guard_lives(fleet.paths), keepers=keepers(fleet))
    if not deployment.is_live or any(stop.armed for stop in stops):
        return
    raise UserError(
        Exit.CLEANUP_UNCONFIRMED,
        "nothing-ends-it",
        f"{deployment.name} runs, and nothing will end it: it cannot end itself, and no guard is at work",
        hint=f"start a guard (gpu guard install), or end it: gpu down {deployment.name}",
        still_billing=[deployment.resource_name],
    )


def _usually_can(fleet: Fleet, deployment: Deployment) -> bool:
    """Whether its cloud gives the means to all, so that it is news that they are missing."""
    return fleet.provider(deployment.provider).self_destruction({}) is not None


def _confirmed(fleet: Fleet, deployment: Deployment, who: str, ask: Callable[[], bool]) -> bool:
    """The answer, as soon as there is one."""
    give_up_at = fleet.clock.now() + CONFIRM_DEADLINE_S
    while True:
        try:
            return ask()
        except _Unconfirmed as problem:
            if fleet.clock.now() >= give_up_at:
                raise UserError(
                    Exit.NEVER_HEALTHY,
                    "stops-unconfirmed",
                    f"{who} of {deployment.name} did not confirm what will end it: {problem}",
                    hint="nothing whose end is not confirmed is left running; try again, and report it if it persists",
                ) from problem
        fleet.clock.sleep(0.3)


def _supervisor_ends_it(client: EngineClient, deployment: Deployment, now: float) -> bool:
    """Whether it can, once its own word is that it runs and knows its limits. Raises _Unconfirmed."""
    try:
        status = client.supervisor()
    except (EngineUnreachable, EngineRefused) as error:
        raise _Unconfirmed(str(error)) from error
    if not _keeps_limits(status, deployment, now):
        raise _Unconfirmed(f"it says {dict(status)}")
    # A process of this machine is all there is to end: it needs nobody's leave.
    return deployment.kind is Kind.PROCESS or status.get("can_destroy") is True


def _keeps_limits(status: Mapping[str, Any], deployment: Deployment, now: float) -> bool:
    """Whether it is alive, and acts at the same idleness and no later than at the deadline."""
    try:
        left_s = float(status["deadline_s"]) - float(status["elapsed_s"])
        fresh = float(status["beat_age_s"]) <= FRESH_S
    except (KeyError, TypeError, ValueError):
        return False
    in_time = now + left_s <= deployment.deadline_at + FRESH_S
    return fresh and in_time and status.get("idle_s") == deployment.idle_s and status.get("reason") is None


def _cloud_ends_it(fleet: Fleet, deployment: Deployment, progress: Progress) -> bool:
    """True, once the cloud reads back that idle workers end as soon as they should. Raises _Unconfirmed.

    The user is told where that is sooner, and what it takes to keep one longer.
    """
    try:
        native_idle_s = fleet.provider(deployment.provider).describe(deployment.resource_id).native_idle_s
    except ProviderError as error:
        raise _Unconfirmed(error.message) from error
    if native_idle_s is None:
        raise _Unconfirmed("it does not say when idle workers end")
    if native_idle_s >= deployment.idle_s + 1:  # clouds take whole seconds
        raise _Unconfirmed(f"it ends idle workers after {native_idle_s:g} s only")
    if native_idle_s < deployment.idle_s:
        progress.note(_sooner_in_words(deployment, native_idle_s))
    return True


def _sooner_in_words(deployment: Deployment, native_idle_s: float) -> str:
    told = f"{deployment.provider} ends idle workers after {format_duration(round(native_idle_s))} at the latest"
    if not is_kept_warm(deployment, native_idle_s):
        return told
    idle = format_duration(round(deployment.idle_s))
    return f"{told}: while this machine is on, its guard keeps one until it has been idle for {idle}"
