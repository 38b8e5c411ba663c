"""From a plan to a deployment: its offers one after the other, as the policy says, and anew where that is wanted."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.keepers import check_kept
from gpu_cli.fleet.launch.attempts import why_nothing
from gpu_cli.fleet.launch.balance import warn_of_balance
from gpu_cli.fleet.launch.health import NeverHealthy
from gpu_cli.fleet.launch.launch import Wanted, launch_one
from gpu_cli.fleet.launch.policy import Attempt, failure_of, for_good, must_stop, why_skipped
from gpu_cli.fleet.money.budget_groups import check_room
from gpu_cli.fleet.node.supervised import resource_name
from gpu_cli.fleet.store import StoreCorrupt
from gpu_cli.planner.offers.filters import why_avoided
from gpu_cli.planner.rank import Candidate
from gpu_cli.ui.progress import Progress, Silent
from gpu_cli.units import format_duration, format_usd
from gpu_providers.base import Link, Offer
from gpu_providers.errors import NoCapacity, ProviderError

SHORTEST_BUDGET_S = 300.0
"""A budget that lasts less than this pays for a start and nothing else."""


def launch(
    fleet: Fleet, wanted: Wanted, candidates: Sequence[Candidate], progress: Progress, tried: list[Attempt]
) -> Deployment:
    """One round: the first candidate that can be launched, healthy (or just launched, without `wait`).

    The caller holds the launch lock of the name. `tried` has what rounds before have tried, and gets what this one
    does. After any error nothing is left, or the error says what is. Raises UserError: BAD_INPUT, LAUNCH_FAILED when
    no candidate could be launched, NEVER_HEALTHY, LIMIT_REACHED, CREDENTIALS, CLEANUP_UNCONFIRMED.
    """
    candidates = check_kept(
        fleet, wanted.recipe, candidates, Silent() if tried else progress, accepted=wanted.ttl_said or wanted.yes
    )
    if not tried:
        warn_of_balance(fleet, candidates, progress)
        _warn_of_bare(fleet, wanted, candidates, progress)
    if wanted.race > 1:
        from gpu_cli.fleet.launch.race import race  # few want one

        return race(fleet, wanted, candidates, progress, tried)
    return _one_after_the_other(fleet, wanted, candidates, progress, tried)


def _one_after_the_other(
    fleet: Fleet, wanted: Wanted, candidates: Sequence[Candidate], progress: Progress, tried: list[Attempt]
) -> Deployment:
    first, lasting = len(tried), for_good(tried)
    for candidate in candidates:
        if why_skipped(candidate.offer, [*lasting, *tried[first:]]):
            continue
        left = replace(wanted, limits=limits_left(fleet, wanted, candidate.offer, tried, tried[first:]))
        made = try_one(fleet, left, candidate, candidates, progress, tried, resource_name=new_name(wanted.name))
        if made is not None:
            return made
        if must_stop([*lasting, *tried[first:]]):
            break
        tell_failure(progress, tried[-1])
    raise why_nothing(tried[first:] or tried)


def new_name(name: str) -> str:
    """For the resource of one order of the deployment of this name."""
    return resource_name(name, secrets.token_hex(3))


def try_one(
    fleet: Fleet,
    wanted: Wanted,
    candidate: Candidate,
    candidates: Sequence[Candidate],
    progress: Progress,
    tried: list[Attempt],
    *,
    resource_name: str,
) -> Deployment | None:
    """`launch_one`, on record in `tried`. None when it failed and the policy says what follows.

    Raises the UserError of what says nothing of the offer, such as `gpu down`.
    """
    began_at = fleet.clock.now()
    made, error = None, None
    try:
        _check_host(fleet, candidate.offer)
        made = launch_one(fleet, wanted, candidate, candidates, progress, resource_name=resource_name)
    except (ProviderError, UserError) as failed:
        if failure_of(failed) is None:
            raise
        error = failed
    seconds, cost_usd = fleet.clock.now() - began_at, cost_of(fleet, resource_name)
    tried.append(Attempt(candidate.offer, error, seconds, cost_usd))
    return made


def limits_left(
    fleet: Fleet, wanted: Wanted, offer: Offer, tried: Sequence[Attempt], now_tried: Sequence[Attempt]
) -> Limits:
    """What is left of its limits for this offer, after all that was `tried`, of which this round has `now_tried`.

    Raises UserError when that is too little of one of them.
    """
    limits = wanted.limits
    if wanted.attempts is not None and len(tried) >= wanted.attempts:
        raise why_nothing(tried)
    left_s = limits.start_deadline_s - sum(attempt.seconds for attempt in now_tried)
    if left_s <= 0:
        message = f"nothing was healthy within the start deadline of {format_duration(limits.start_deadline_s)}"
        raise NeverHealthy(Exit.NEVER_HEALTHY, "start-deadline", message, hint="raise it with --start-deadline")
    check_room(
        fleet.store, wanted.budget_group, offer.price_usd_per_hour, now=fleet.clock.now(), shortest_s=SHORTEST_BUDGET_S
    )
    return replace(limits, start_deadline_s=left_s, budget_usd=check_budget(limits, offer, tried))


def check_budget(limits: Limits, offer: Offer, tried: Sequence[Attempt]) -> float | None:
    """What is left of the budget after what was tried. Raises LIMIT_REACHED when that pays for no start there."""
    if limits.budget_usd is None:
        return None
    price, spent_usd = offer.price_usd_per_hour, sum(attempt.cost_usd for attempt in tried)
    left_usd = limits.budget_usd - spent_usd
    if price <= 0 or left_usd / price * 3600 >= SHORTEST_BUDGET_S:
        return left_usd
    lasts = format_duration(round(max(0.0, left_usd) / price * 3600))
    rest = f" is left, after {format_usd(spent_usd)} for starts that failed: it" if spent_usd else ""
    raise UserError(
        Exit.LIMIT_REACHED,
        "budget-too-small",
        f"{format_usd(max(0.0, left_usd))}{rest} lasts {lasts} at {format_usd(price)}/h: not even a start",
        hint="raise the budget (--budget), or lower the price that you accept (max_price_usd_per_hour)",
    )


def tell_failure(progress: Progress, attempt: Attempt) -> None:
    """Of one that was ended, that and why was told."""
    if attempt.error and attempt.failure and not attempt.failure.billed:
        progress.note(f"{attempt.offer.offer_id}: {attempt.error.message}")


def _check_host(fleet: Fleet, offer: Offer) -> None:
    """Raises NoCapacity for a machine that did not come up: it may have been tried since the plan was made."""
    if why := why_avoided(fleet.store.bad_hosts(fleet.clock.now()), offer):
        raise NoCapacity(why)


def _warn_of_bare(fleet: Fleet, wanted: Wanted, candidates: Sequence[Candidate], progress: Progress) -> None:
    names = dict.fromkeys(candidate.offer.provider for candidate in candidates)
    bare = [name for name in names if wanted.direct and fleet.provider(name).link is not Link.DIRECT]
    if bare:
        progress.note(f"--direct: the key and all prompts travel unencrypted over the internet ({', '.join(bare)})")


def cost_of(fleet: Fleet, resource_name: str) -> float:
    """Of one order, as on record; nothing for what did not get there, or when that cannot be read."""
    try:
        return fleet.store.get(resource_name).spent_usd(fleet.clock.now())
    except (KeyError, UserError, StoreCorrupt):
        return 0.0
