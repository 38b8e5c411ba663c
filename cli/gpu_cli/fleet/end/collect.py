"""What is left over: resources that nothing on record wants, and records of what is gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import STARTING, Deployment
from gpu_cli.fleet.end.inventory import Inventory, take_inventory
from gpu_cli.fleet.end.reconcile import Seen, why_end
from gpu_cli.fleet.end.settle import see_all
from gpu_cli.fleet.end.spot import TAKEN_BACK, spot_recipes
from gpu_cli.fleet.end.stops import overdue
from gpu_cli.fleet.end.teardown import destroy, tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.recover import adopt_to_end, described
from gpu_cli.locks import is_held
from gpu_providers.base import Resource, ResourceState
from gpu_providers.errors import ProviderError
from gpu_providers.in_parallel import together


@dataclass(frozen=True)
class Leftover:
    """Something that is to be destroyed, unless somebody wants it. `deployment` is None for one that is not on record
    as living, `resource` for one that is.
    """

    resource_name: str
    provider: str
    why: str
    deployment: Deployment | None
    resource: Resource | None
    is_adoptable: bool = False
    """No record tells of it, and nothing is wrong with it: it may be somebody's who works on another machine."""


@dataclass(frozen=True)
class Survey:
    """How record and clouds compare."""

    leftovers: tuple[Leftover, ...]
    finished: tuple[Deployment, ...]
    """They were on record as alive, and their cloud says that they are gone: now that is on record."""
    inventory: Inventory


def survey(fleet: Fleet) -> Survey:
    """Compare the record with every cloud. What is gone is written down as gone on the way; nothing is destroyed.

    A start that its launcher watches is left to the launcher.
    """
    known = [deployment for deployment in fleet.store.live() if not _is_being_launched(fleet, deployment)]
    inventory = take_inventory(fleet)
    seen = _seen(fleet, known, inventory)
    finished = tuple(one.deployment for one in seen if not one.deployment.is_live)
    leftovers = [_overdue(one) for one in seen if one.due]
    # After the clouds were asked: what is being launched is on record before its cloud knows of it.
    living = {deployment.resource_name: deployment for deployment in fleet.store.live()}
    leftovers += [_unknown(fleet, one) for one in inventory.resources if not _is_wanted(fleet, one, living)]
    silent = {one.deployment.provider: one.problem for one in seen if one.problem}
    return Survey(tuple(leftovers), finished, replace(inventory, unreached={**silent, **inventory.unreached}))


def collect_all(fleet: Fleet, leftovers: Sequence[Leftover]) -> Sequence[UserError | None]:
    """Destroy them, verified, no cloud waiting for another; of each, what kept that from being confirmed.

    What was on record as ended is destroyed without a record: its own is history and stays as it is.
    """
    work = {position: partial(_collect_apart, fleet, leftover) for position, leftover in enumerate(leftovers)}
    outcomes = together(work, lambda position: leftovers[position].provider)
    return [outcomes[position] for position in work]


def collect(fleet: Fleet, leftover: Leftover) -> None:
    """Destroy one, verified. Raises UserError CLEANUP_UNCONFIRMED."""
    deployment = leftover.deployment
    if deployment is None and leftover.resource is not None:
        deployment = adopt_to_end(fleet, leftover.resource, leftover.why)
    if deployment is not None:
        tear_down(fleet, deployment, leftover.why)
    elif leftover.resource is not None:
        living = fleet.store.find_live(leftover.resource.name)
        sparing = [living.resource_id] if living else []
        destroy(fleet, described(leftover.resource, fleet.clock.now()), sparing=sparing)


def forget_keys(fleet: Fleet) -> None:
    """Keys, certificates and recipes of what does not live any more; what is to be replaced needs its recipe."""
    folders = (fleet.keys, fleet.certificates, spot_recipes(fleet))
    kept = {name for folder in folders for name in folder.resource_names()}
    # The record is read last: what is being launched meanwhile was on record before it had a key.
    wanted = _living(fleet) | {one.resource_name for one in fleet.store.ended() if one.reason.startswith(TAKEN_BACK)}
    for name in kept - wanted:
        for folder in folders:
            folder.forget(name)


def forget_at_clouds(fleet: Fleet, inventory: Inventory) -> Sequence[Leftover]:
    """Tokens, logins and the like, which clouds keep without cost for what is gone: what could not be dropped."""
    wanted = _living(fleet) | {resource.name for resource in inventory.resources}
    left: list[Leftover] = []
    for provider, kept in inventory.kept.items():
        if gone := set(kept) - wanted:
            why = "what is kept for it could not be dropped"
            left += [
                Leftover(name, provider, why, None, None) for name in sorted(_not_forgotten(fleet, provider, gone))
            ]
    return left


def _not_forgotten(fleet: Fleet, provider_name: str, names: set[str]) -> set[str]:
    """Those of which something is kept all the same."""
    try:
        provider = fleet.provider(provider_name)
        for name in names:
            provider.forget(name)
        return names & set(provider.kept())
    except ProviderError:
        return names


def _living(fleet: Fleet) -> set[str]:
    return {deployment.resource_name for deployment in fleet.store.live()}


def _collect_apart(fleet: Fleet, leftover: Leftover) -> UserError | None:
    """In a thread, with a store of its own."""
    try:
        with fleet.apart() as own:
            collect(own, leftover)
    except UserError as error:
        return error
    return None


def _seen(fleet: Fleet, known: Sequence[Deployment], inventory: Inventory) -> Sequence[Seen]:
    """As the lists of their clouds show them. Those that are not there are asked for by their ids; no silent cloud is
    asked again.
    """
    listed = {(one.provider, one.name, one.resource_id): one for one in inventory.resources}
    seen, unlisted = list[Seen](), list[Deployment]()
    for deployment in known:
        resource = listed.get((deployment.provider, deployment.resource_name, deployment.resource_id))
        if resource or deployment.provider in inventory.unreached:
            seen.append(Seen(deployment, resource, why_end(fleet, deployment, resource)))
        else:
            unlisted.append(deployment)
    return [*seen, *see_all(fleet, unlisted)]


def _overdue(seen: Seen) -> Leftover:
    deployment = seen.deployment
    return Leftover(deployment.resource_name, deployment.provider, seen.due, deployment, None)


def _is_being_launched(fleet: Fleet, deployment: Deployment) -> bool:
    """Its launcher is at work, and sees to whatever becomes of it."""
    return deployment.state in STARTING and is_held(fleet.launch_lock_path(deployment.name))


def _is_wanted(fleet: Fleet, resource: Resource, living: Mapping[str, Deployment]) -> bool:
    """Whether it is what is on record as alive, and not a second one of its name."""
    deployment = living.get(resource.name)
    if deployment is None:
        return False
    return deployment.resource_id in ("", resource.resource_id) or _is_being_launched(fleet, deployment)


def _unknown(fleet: Fleet, resource: Resource) -> Leftover:
    """One that nothing living on record stands for."""
    known = fleet.store.last_named(resource.name)
    if known and known.is_live:
        why = f"it is a second one beside {known.resource_id}"
    elif known:
        why = f"it should have ended ({known.reason})"
    else:
        why = "it is not on record"
    is_adoptable = known is None and _is_healthy(resource, fleet.clock.now())
    return Leftover(resource.name, resource.provider, why, None, resource, is_adoptable)


def _is_healthy(resource: Resource, now: float) -> bool:
    """As far as its cloud and its labels tell."""
    return resource.state is not ResourceState.BROKEN and not overdue(described(resource, now), now)
