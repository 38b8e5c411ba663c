"""What will end a deployment, when, and whose hand it is."""

from dataclasses import dataclass, replace

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.keepers import NO_KEEPERS, Keepers
from gpu_providers.base import Kind, Link

GUARD_GRACE_S = 10.0
"""The supervisor on the node has the first turn; the guard acts when it is this late."""


@dataclass(frozen=True)
class Stop:
    """One thing that will end it. `at` is a time, `after_s` a length of idleness; one of them is set."""

    kind: str
    """`idle`, `deadline` or `budget`."""
    by: str
    """`supervisor` (on the node), `native` (the cloud's, of what scales to zero), `guard` (of this machine), or where a
    guard is that does not need this machine: `modal`.
    """
    armed: bool
    at: float | None
    after_s: float | None
    installed: bool = False
    """The guard of this machine is a service: it comes back after a crash, and with the next login."""


def stops_of(deployment: Deployment, *, guard_lives: bool, keepers: Keepers = NO_KEEPERS) -> tuple[Stop, ...]:
    """Everything that will end it, armed or not; nothing for one that has ended.

    What scales to zero is not ended by idleness: the cloud then stops its workers, and so its bill. That may be sooner
    where it takes a guard to keep a worker for so long (`keep_warm`), and is never later.
    """
    if not deployment.is_live:
        return ()
    own, guard = deployment.own_stop_armed, {"guard": guard_lives}
    away = {keepers.away: True} if keepers.watched_away(deployment.provider) else {}
    # What can be used without this machine may be in use without its guard seeing that.
    away_idle = dict.fromkeys(away, not keepers.trouble) if deployment.link is Link.SSH else {}
    if deployment.kind is Kind.SERVERLESS:
        on_idle, at_deadline = {"native": own}, guard
    else:
        on_idle, at_deadline = {"supervisor": own, **guard, **away_idle}, {"supervisor": own, **guard, **away}
    stops = [Stop("idle", by, armed, None, deployment.idle_s) for by, armed in on_idle.items()]
    stops += [Stop("deadline", by, armed, deployment.deadline_at, None) for by, armed in at_deadline.items()]
    if deployment.budget_usd is not None and deployment.price_usd_per_hour > 0:
        ends_at = deployment.budget_ends_at()
        stops += [Stop("budget", by, armed, ends_at, None) for by, armed in {**guard, **away}.items()]
    return tuple(replace(stop, installed=keepers.installed) if stop.by == "guard" else stop for stop in stops)


def ends_at_latest(deployment: Deployment) -> float:
    """The deadline, or the end of the budget where that comes first."""
    budget_ends_at = deployment.budget_ends_at()
    return deployment.deadline_at if budget_ends_at is None else min(deployment.deadline_at, budget_ends_at)


def worst_case_usd(deployment: Deployment) -> float:
    """What it will have cost at the latest end."""
    if deployment.launched_at is None:
        return 0.0
    hours = max(0.0, ends_at_latest(deployment) - deployment.launched_at) / 3600
    return deployment.price_usd_per_hour * deployment.most_workers * hours


def overdue(deployment: Deployment, now: float) -> str:
    """Which absolute limit has passed: `deadline`, `budget`, or nothing. Ignores whether it is busy."""
    if now >= deployment.deadline_at:
        return "deadline"
    budget_ends_at = deployment.budget_ends_at()
    if budget_ends_at is not None and now >= budget_ends_at:
        return "budget"
    return ""


def idle_for_s(deployment: Deployment, now: float) -> float | None:
    """How long it has had no work; None unless it is ready, and for what scales to zero: asking would wake it."""
    if deployment.kind is Kind.SERVERLESS or deployment.state is not State.READY or deployment.active_at is None:
        return None
    return max(0.0, now - deployment.active_at)
