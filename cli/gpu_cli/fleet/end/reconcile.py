"""Bringing the store in line with the truth, which is what the clouds say, one deployment at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_cli.fleet.deployment import ABANDONED, BROKEN, ENDED_OUTSIDE, ORDERLY_ENDS, STARTING, Deployment, State
from gpu_cli.fleet.end.spot import TAKEN_BACK, is_spot
from gpu_cli.fleet.end.stops import GUARD_GRACE_S, overdue
from gpu_cli.fleet.end.teardown import finish, recognised
from gpu_cli.fleet.end.visible import visible_at
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.engine_log import diagnose, last_words
from gpu_cli.fleet.launch.hosts import avoid_host_of
from gpu_cli.fleet.money.budget_groups import end_of as group_end_of
from gpu_cli.fleet.money.metering import told_usd_per_hour
from gpu_cli.fleet.reach.link import reached_at
from gpu_cli.locks import is_held
from gpu_providers.base import Kind, Resource, ResourceState
from gpu_providers.errors import HostFailed, InvalidRequest, NotFound, ProviderError

_STOPPED = "terminated"
"""The supervisor's reason when it was told to stop: whoever told it knows why."""


@dataclass(frozen=True)
class Seen:
    """One deployment, as it was just looked at."""

    deployment: Deployment
    resource: Resource | None = None
    due: str = ""
    """Why it has to be ended now."""
    problem: str = ""
    """Why its cloud has not said how it is."""


def see(fleet: Fleet, deployment: Deployment) -> Seen:
    """As `look`, with what follows from that."""
    deployment, resource, problem = _looked(fleet, deployment)
    return Seen(deployment, resource, why_end(fleet, deployment, resource), problem)


def look(fleet: Fleet, deployment: Deployment) -> tuple[Deployment, Resource | None]:
    """Ask its provider; one that is gone is written down as ended. Without an answer nothing is concluded.

    A start that its launcher watches is left to the launcher, who knows more: only what scales to zero is looked at, to
    know what it costs.
    """
    deployment, resource, _ = _looked(fleet, deployment)
    return deployment, resource


def _looked(fleet: Fleet, deployment: Deployment) -> tuple[Deployment, Resource | None, str]:
    """As `look`, and why there is no answer."""
    watched = deployment.state in STARTING and is_held(fleet.launch_lock_path(deployment.name))
    metered = deployment.kind is Kind.SERVERLESS
    if (watched and not metered) or not deployment.resource_id or not deployment.is_live:
        return deployment, None, ""
    try:
        provider = fleet.provider(deployment.provider)
        recognised(provider, deployment)
        resource = provider.describe(deployment.resource_id)
    except NotFound:
        hidden = watched or fleet.clock.now() < visible_at(fleet, provider, deployment)
        return deployment if hidden else _ended(fleet, deployment), None, ""
    except ProviderError as error:
        return deployment, None, error.message
    return _learnt(fleet, deployment, resource), None if watched else resource, ""


def _learnt(fleet: Fleet, deployment: Deployment, resource: Resource) -> Deployment:
    """With what the cloud has told meanwhile: what it bills just now, where it is and serves, and what it charges."""
    is_serverless = deployment.kind is Kind.SERVERLESS
    if (usd_per_hour := told_usd_per_hour(deployment, resource)) is not None:
        deployment = fleet.store.meter(deployment.resource_name, usd_per_hour, at=fleet.clock.now())
    tells_price = resource.state is ResourceState.RUNNING or resource.full_price_usd_per_hour is not None
    told = {
        "region": resource.region,
        "endpoint": reached_at(deployment.link, resource.endpoint),
        "price_usd_per_hour": resource.full_price if tells_price and not is_serverless else 0.0,
    }
    if news := {name: value for name, value in told.items() if value and value != getattr(deployment, name)}:
        return fleet.store.update(deployment.resource_name, **news)
    return deployment


def why_end(fleet: Fleet, deployment: Deployment, resource: Resource | None) -> str:
    """Why a deployment has to be ended now, whatever it is doing; empty when it may go on."""
    now = fleet.clock.now()
    if not deployment.is_live:
        return ""
    if deployment.state in (State.DRAINING, State.TERMINATING):
        return deployment.reason or "interrupted"
    if deployment.tied and not is_held(fleet.launch_lock_path(deployment.name)) and _is_still_so(fleet, deployment):
        return ABANDONED
    if deployment.launched_at is None:
        return ""  # being prepared on this side: it bills nothing, and its limits do not run yet
    if limit := overdue(deployment, now, group_end_of(fleet.store, deployment, now)):
        return limit
    if resource and resource.state is ResourceState.BROKEN:
        return _why_broken(fleet, deployment, resource)
    if deployment.state in STARTING and now >= deployment.start_deadline_at + GUARD_GRACE_S:
        _record_failure(fleet, deployment, "start-deadline")
        return "start-deadline"
    return ""


def _is_still_so(fleet: Fleet, deployment: Deployment) -> bool:
    """Whether it is tied under the same name. A launcher unties it, or gives it another name whose lock it has, before
    it lets go of the lock: only a look after that tells one that was killed from one that is done.
    """
    recorded = fleet.store.get(deployment.resource_name)
    return recorded.tied and recorded.name == deployment.name


def why_not_booting(fleet: Fleet, deployment: Deployment, tell: Callable[[str], None]) -> str:
    """Why a start that nobody watches will come to nothing, in the cloud's own words; empty while it may.

    What its user has to know of how it came up is told, and what it bills meanwhile is written down.
    """
    try:
        boot = fleet.provider(deployment.provider).boot(deployment.resource_id)
    except HostFailed as error:
        avoid_host_of(fleet, deployment, error.message)
        _record_failure(fleet, deployment, error)
        return error.message
    except InvalidRequest as error:
        _record_failure(fleet, deployment, error)
        return error.message
    except ProviderError:
        pass
    else:
        if boot.price_usd_per_hour is not None:
            fleet.store.meter(deployment.resource_name, boot.price_usd_per_hour, at=fleet.clock.now())
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
        _record_failure(fleet, deployment, _code_of(said))
        return said
    if deployment.state in STARTING:
        avoid_host_of(fleet, deployment, resource.detail)
        _record_failure(fleet, deployment, HostFailed(resource.detail))
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
        if said or not limit:
            vanished = "terminated" if deployment.state is State.BOOTING else "engine-died"
            _record_failure(fleet, deployment, _code_of(said) or vanished)
        return finish(fleet, deployment, reason=said or limit or "ended while it was starting")
    return finish(fleet, deployment, reason=said or _guess(deployment, fleet.clock.now()))


def _record_failure(fleet: Fleet, deployment: Deployment, failed: ProviderError | str) -> None:
    """Of which kind it is, an error or the code of a diagnosis, of a start that its launcher has left to others."""
    from gpu_cli.fleet.launch.policy import failure_by, failure_of  # slow to import, and few starts fail

    failure = failure_by(failed) if isinstance(failed, str) else failure_of(failed)
    if failure and deployment.state in STARTING and not deployment.tied:
        fleet.store.update(deployment.resource_name, failure=failure.word)


def _code_of(said: str) -> str:
    """As a supervisor begins its last words."""
    return said.partition(":")[0]


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
