"""All that lives, as it is now: what every later command finds out, and what it does where no guard is at work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.reconcile import Seen, see, why_end
from gpu_cli.fleet.end.replace import replace_all_lost, replace_lost
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard, guard_lives
from gpu_cli.fleet.market.ask_all import LAST_ONE_S, PATIENCE_S, no_answer
from gpu_providers.in_parallel import together

ENDING_S = 30.0
"""How long a command stays with what it ends; the guard that it starts sees to the rest."""


def settle(fleet: Fleet) -> Sequence[Seen]:
    """All that live, as they are now.

    Without a guard at work, what is overdue is ended here, and a guard is started. Raises UserError CLEANUP_UNCONFIRMED
    when something does not end.
    """
    seen, errors = see_all(fleet), list[UserError]()
    if not guard_lives(fleet.paths):
        errors += _end_all(fleet, [one for one in seen if one.due])
        replace_all_lost(fleet)
        if fleet.store.live():
            ensure_guard(fleet)
    if errors:
        raise errors[0]
    known = {one.deployment.resource_name: one for one in seen}
    live = fleet.store.live()
    return [replace(known.get(one.resource_name, Seen(one)), deployment=one) for one in live]


def see_all(
    fleet: Fleet, deployments: Sequence[Deployment] | None = None, *, patience_s: float = PATIENCE_S
) -> Sequence[Seen]:
    """All that live, or these, looked at together; as they are on record where their cloud does not answer in time."""
    chosen = fleet.store.live() if deployments is None else deployments
    live = {deployment.resource_name: deployment for deployment in chosen}
    work = {name: partial(_see, fleet, deployment) for name, deployment in live.items()}
    seen = together(work, lambda name: live[name].provider, patience_s=patience_s, last_one_s=LAST_ONE_S)
    return [seen.get(name) or _unseen(fleet, deployment) for name, deployment in live.items()]


def _see(fleet: Fleet, deployment: Deployment) -> Seen:
    with fleet.apart() as apart:
        return see(apart, deployment)


def _unseen(fleet: Fleet, deployment: Deployment) -> Seen:
    due = why_end(fleet, deployment, None)
    return Seen(deployment, due=due, problem=no_answer(deployment.provider).message)


def _end_all(fleet: Fleet, due: Sequence[Seen]) -> Sequence[UserError]:
    """What could not be confirmed; each is tried."""
    cloud_of: Mapping[str, str] = {one.deployment.resource_name: one.deployment.provider for one in due}
    work = {one.deployment.resource_name: partial(_end, fleet, one) for one in due}
    ended = together(work, cloud_of.__getitem__, patience_s=ENDING_S)
    return [error for error in ended.values() if error]


def _end(fleet: Fleet, one: Seen) -> UserError | None:
    with fleet.apart() as apart:
        try:
            replace_lost(apart, tear_down(apart, one.deployment, one.due))
        except UserError as error:
            return error
    return None
