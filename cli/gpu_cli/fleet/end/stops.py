"""What will end a deployment, when, and whose hand it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.guard.keepers import NO_KEEPERS, Keepers
from gpu_providers.base import Kind, Link

GUARD_GRACE_S = 10.0
"""The supervisor on the node has the first turn; the guard acts when it is this late."""


@dataclass(frozen=True)
class Stop:
    """One thing that will end it. `at` is a time, `after_s` a length of idleness; one of them is set."""

    kind: str
    """`idle`, `deadline`, `budget`, or `budget-group` for the one that it shares with others."""
    by: str
    """`supervisor` (on the node), `native` (the cloud's, of what scales to zero), `guard` (of this machine), or where a
    guard is that does not need this machine: `modal`.
    """
    armed: bool
    at: float | None
    after_s: float | None
    installed: bool = False
    """The guard of this machine is a service: it comes back after a crash, and with the next login."""


def stops_of(
    deployment: Deployment,
    *,
    guard_lives: bool,
    keepers: Keepers = NO_KEEPERS,
    group_ends_at: float | None = None,
    has_key: bool = True,
) -> tuple[Stop, ...]:
    """Everything that will end it, armed or not; nothing for one that has ended.

    What scales to zero is not ended by idleness: the cloud then stops its workers, and so its bill. That may be sooner
    where it takes a guard to keep a worker for so long (`keep_warm`), and is never later. The budget that it shares
    with others is used up at `group_ends_at` (`budget_groups.ends_at`). Without its key on this machine (`has_key`) the
    guard here cannot see it idle.
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
        on_idle = {"supervisor": own, "guard": guard_lives and has_key, **away_idle}
        at_deadline = {"supervisor": own, **guard, **away}
    stops = [Stop("idle", by, armed, None, deployment.idle_s) for by, armed in on_idle.items()]
    stops += [Stop("deadline", by, armed, deployment.deadline_at, None) for by, armed in at_deadline.items()]
    if deployment.budget_usd is not None and deployment.price_usd_per_hour > 0:
        ends_at = deployment.budget_ends_at()
        stops += [Stop("budget", by, armed, ends_at, None) for by, armed in {**guard, **away}.items()]
    if group_ends_at is not None:  # of groups only this machine knows
        stops.append(Stop("budget-group", "guard", guard_lives, group_ends_at, None))
    return tuple(replace(stop, installed=keepers.installed) if stop.by == "guard" else stop for stop in stops)


def ends_at_latest(deployment: Deployment, group_ends_at: float | None = None) -> float:
    """The deadline, or the end of its budget or its group's where that comes first."""
    budget_ends_at = _budget_ends_at(deployment, group_ends_at)
    return deployment.deadline_at if budget_ends_at is None else min(deployment.deadline_at, budget_ends_at)


def worst_case_usd(deployment: Deployment, group_ends_at: float | None = None) -> float:
    """What it will have cost at the latest end: what was metered, and from then on all that it can bill."""
    if deployment.launched_at is None:
        return 0.0
    left_s = ends_at_latest(deployment, group_ends_at) - deployment.metered_until(deployment.launched_at)
    return (deployment.metered_usd or 0.0) + deployment.most_usd_per_hour * max(0.0, left_s) / 3600


def overdue(deployment: Deployment, now: float, group_ends_at: float | None = None) -> str:
    """Which absolute limit has passed: `deadline`, `budget`, or nothing. Ignores whether it is busy."""
    if now >= deployment.deadline_at:
        return "deadline"
    budget_ends_at = _budget_ends_at(deployment, group_ends_at)
    if budget_ends_at is not None and now >= budget_ends_at:
        return "budget"
    return ""


def group_end_of(stops: Sequence[Stop]) -> float | None:
    """When the budget that it shares ends it, among its stops; None where it shares none."""
    return next((stop.at for stop in stops if stop.kind == "budget-group"), None)


def idle_for_s(deployment: Deployment, now: float) -> float | None:
    """How long it has had no work; None unless it is ready, and for what scales to zero: asking would wake it."""
    if deployment.kind is Kind.SERVERLESS or deployment.state is not State.READY or deployment.active_at is None:
        return None
    return max(0.0, now - deployment.active_at)


def _budget_ends_at(deployment: Deployment, group_ends_at: float | None) -> float | None:
    ends = [at for at in (deployment.budget_ends_at(), group_ends_at) if at is not None]
    return min(ends, default=None)
