"""Bringing the store in line with the truth, which is what the clouds say, and ending what has to end."""

from collections.abc import Callable, Sequence
from typing import Any

from gpu_cli.fleet.deployment import ABANDONED, BROKEN, ENDED_OUTSIDE, ORDERLY_ENDS, STARTING, Deployment, State
from gpu_cli.fleet.engine_log import diagnose, last_words
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard_process import ensure_guard, guard_lives
from gpu_cli.fleet.hosts import avoid_host_of
from gpu_cli.fleet.link import reached_at
from gpu_cli.fleet.replace import replace_lost
from gpu_cli.fleet.spot import TAKEN_BACK, is_spot
from gpu_cli.fleet.stops import GUARD_GRACE_S, overdue
from gpu_cli.fleet.teardown import finish, recognised, tear_down
from gpu_cli.fleet.visible import visible_at
from gpu_cli.locks import is_held
from gpu_providers.base import Kind, Resource, ResourceState
from gpu_providers.errors import HostFailed, InvalidRequest, NotFound, ProviderError

_STOPPED = "terminated"
"""The supervisor's reason when it was told to stop: whoever told it knows why."""


def settle(fleet: Fleet) -> Sequence[tuple[Deployment, str]]:
    """All that live, as they are now, each with its cloud's own word for what it does; empty where there is none.

    Without a guard at work, what is overdue is ended here, and a guard is started. Raises UserError CLEANUP_UNCONFIRMED
    when something does not end.
    """
    guarded, details = guard_lives(fleet.paths), dict[str, str]()
    for deployment in fleet.store.live():
        deployment, resource = look(fleet, deployment)
        details[deployment.resource_name] = resource.detail if resource else ""
        reason = why_end(fleet, deployment, resource)
        if reason and not guarded:
            replace_lost(fleet, tear_down(fleet, deployment, reason))
    live = fleet.store.live()
    if live and not guarded:
        ensure_guard(fleet)
    return [(deployment, details.get(deployment.resource_name, "")) for deployment in live]


def look(fleet: Fleet, deployment: Deployment) -> tuple[Deployment, Resource | None]:
    """Ask its provider; one that is gone is written down as ended. Without an answer nothing is concluded.

    A start that its launcher watches is left to the launcher, who knows more: only what scales to zero is looked at, to
    know what it costs.
    """
    watched = deployment.state in STARTING and is_held(fleet.launch_lock_path(deployment.name))
    metered = deployment.kind is Kind.SERVERLESS
    if (watched and not metered) or not deployment.resource_id or not deployment.is_live:
        return deployment, None
    try:
        provider = fleet.provider(deployment.provider)
        recognised(provider, deployment)
        resource = provider.describe(deployment.resource_id)
    except NotFound:
        hidden = watched or fleet.clock.now() < visible_at(fleet, provider, deployment)
        return deployment if hidden else _ended(fleet, deployment), None
    except ProviderError:
        return deployment, None
    return _learnt(fleet, deployment, resource), None if watched else resource


def _learnt(fleet: Fleet, deployment: Deployment, resource: Resource) -> Deployment:
    """With what the cloud has told meanwhile: where it is and serves, what it charges for what runs, and what the
    workers of an endpoint have cost.
    """
    told: dict[str, Any] = {"region": resource.region, "endpoint": reached_at(deployment.link, resource.endpoint)}
    if resource.state is ResourceState.RUNNING and deployment.kind is not Kind.SERVERLESS:
        told["price_usd_per_hour"] = resource.price_usd_per_hour or deployment.price_usd_per_hour
    if news := {name: value for name, value in told.items() if value not in ("", getattr(deployment, name))}:
        deployment = fleet.store.update(deployment.resource_name, **news)
    if deployment.kind is not Kind.SERVERLESS:
        return deployment
    return fleet.store.meter(deployment.resource_name, resource.price_usd_per_hour, at=fleet.clock.now())


def why_end(fleet: Fleet, deployment: Deployment, resource: Resource | None) -> str:
    """Why a deployment has to be ended now, whatever it is doing; empty when it may go on."""
    now = fleet.clock.now()
    if not deployment.is_live:
        return ""
    if deployment.state in (State.DRAINING, State.TERMINATING):
        return deployment.reason or "interrupted"
    # The launcher unties it before it lets go of the lock: only a look after that tells a killed one from a done one.
    abandoned = deployment.tied and not is_held(fleet.launch_lock_path(deployment.name))
    if abandoned and fleet.store.get(deployment.resource_name).tied:
        return ABANDONED
    if deployment.launched_at is None:
        return ""  # being prepared on this side: it bills nothing, and its limits do not run yet
    if limit := overdue(deployment, now):
        return limit
    if resource and resource.state is ResourceState.BROKEN:
        return _why_broken(fleet, deployment, resource)
    if deployment.state in STARTING and now >= deployment.start_deadline_at + GUARD_GRACE_S:
        return "start-deadline"
    return ""


def why_not_booting(fleet: Fleet, deployment: Deployment, tell: Callable[[str], None]) -> str:
    """Why a start that nobody watches will come to nothing, in the cloud's own words; empty while it may.

    What its user has to know of how it came up is told.
    """
    try:
        boot = fleet.provider(deployment.provider).boot(deployment.resource_id)
    except HostFailed as error:
        avoid_host_of(fleet, deployment, error.message)
        return error.message
    except InvalidRequest as error:
        return error.message
    except ProviderError:
        pass
    else:
        if boot.note:
            tell(boot.note)
    return ""


def _why_broken(fleet: Fleet, deployment: Deployment, resource: Resource) -> str:
    """Its supervisor's word, where that ended it and could not destroy it; else the cloud's.

    A start that nothing else explains is blamed on its host.
    """
    if deployment.kind is Kind.PROCESS:
        return BROKEN
    said = _last_words(fleet, deployment)
    if said and not said.startswith(_STOPPED):
        return said
    if deployment.state in STARTING:
        avoid_host_of(fleet, deployment, resource.detail)
    elif is_spot(fleet, deployment):
        return f"{TAKEN_BACK}: {resource.detail}"
    return f"{deployment.provider} says: {resource.detail}"


def _ended(fleet: Fleet, deployment: Deployment) -> Deployment:
    """The cloud says that it is gone."""
    if deployment.state is State.TERMINATING:
        return finish(fleet, deployment)
    said = _last_words(fleet, deployment)
    if deployment.state in STARTING:
        limit = overdue(deployment, fleet.clock.now())
        return finish(fleet, deployment, reason=said or limit or "ended while it was starting")
    return finish(fleet, deployment, reason=said or _guess(deployment, fleet.clock.now()))


def _last_words(fleet: Fleet, deployment: Deployment) -> str:
    """Why its supervisor says that it ended, where the log has outlived it; empty where that says nothing."""
    lines = _log(fleet, deployment)
    reason, detail = last_words(lines)
    if reason == "engine-died" and (cause := diagnose(lines)):
        reason, detail = cause.code, cause.message
    orderly = reason in ORDERLY_ENDS and deployment.state not in STARTING
    return f"{reason}: {detail}" if detail and not orderly else reason


def _log(fleet: Fleet, deployment: Deployment) -> Sequence[str]:
    try:
        return list(fleet.provider(deployment.provider).logs(deployment.resource_id, tail=400))
    except ProviderError:
        return []


def _guess(deployment: Deployment, now: float) -> str:
    """Without a word from the supervisor: what was due when it went."""
    if limit := overdue(deployment, now):
        return limit
    never_idle = deployment.kind is Kind.SERVERLESS  # that ends its workers, and not the deployment
    if not never_idle and deployment.active_at is not None and now - deployment.active_at >= deployment.idle_s:
        return "idle"
    return ENDED_OUTSIDE
