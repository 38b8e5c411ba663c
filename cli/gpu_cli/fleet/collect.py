"""What is left over: resources that nothing on record wants, and records of what is gone."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.reconcile import look, why_end
from gpu_cli.fleet.recover import adopt, described
from gpu_cli.fleet.spot import spot_recipes
from gpu_cli.fleet.teardown import destroy, tear_down
from gpu_providers.base import Resource
from gpu_providers.errors import NoCredentials, ProviderError


@dataclass(frozen=True)
class Leftover:
    """Something to be destroyed. `deployment` is None for a resource that is not on record."""

    resource_name: str
    provider: str
    why: str
    deployment: Deployment | None
    resource: Resource | None


@dataclass(frozen=True)
class Survey:
    """What is left over, and which clouds could not be asked."""

    leftovers: tuple[Leftover, ...]
    unreached: tuple[str, ...]


def survey(fleet: Fleet) -> Survey:
    """Compare the record with every cloud. What is gone is written down as gone on the way; nothing is destroyed."""
    leftovers = [found for deployment in fleet.store.live() if (found := _left_over(fleet, deployment))]
    listed: list[Resource] = []
    unreached: list[str] = []
    providers, broken = fleet.providers()
    unreached += [error.message for error in broken]
    used = {deployment.provider for deployment in (*fleet.store.live(), *fleet.store.ended())}
    for provider in providers:
        try:
            listed += provider.list_resources()
        except ProviderError as error:
            # Without credentials a cloud cannot be looked at; that matters only for one that something was launched on.
            if provider.name in used or not isinstance(error, NoCredentials):
                unreached.append(f"{provider.name}: {error.message}")
    # After the lists were made: what is being launched is on record before its cloud knows of it.
    wanted = {deployment.resource_name: deployment.resource_id for deployment in fleet.store.live()}
    leftovers += [_unknown(fleet, resource) for resource in listed if not _is_wanted(resource, wanted)]
    return Survey(tuple(leftovers), tuple(unreached))


def _is_wanted(resource: Resource, wanted: Mapping[str, str]) -> bool:
    """Whether it is what is on record as alive, and not a second one of its name."""
    return resource.name in wanted and wanted[resource.name] in ("", resource.resource_id)


def collect(fleet: Fleet, leftover: Leftover) -> None:
    """Destroy one, verified. Raises UserError CLEANUP_UNCONFIRMED.

    What was on record as ended is destroyed without a record: its own is history and stays as it is.
    """
    deployment = leftover.deployment
    if deployment is None and leftover.resource is not None:
        deployment = adopt(fleet, leftover.resource)
    if deployment is not None:
        tear_down(fleet, deployment, leftover.why)
    elif leftover.resource is not None:
        living = fleet.store.find_live(leftover.resource.name)
        sparing = [living.resource_id] if living else []
        destroy(fleet, described(leftover.resource, fleet.clock.now()), sparing=sparing)


def forget_keys(fleet: Fleet) -> None:
    """Keys, certificates and recipes of what does not live any more."""
    living = {deployment.resource_name for deployment in fleet.store.live()}
    fleet.keys.forget_all_but(living)
    fleet.certificates.forget_all_but(living)
    spot_recipes(fleet).forget_all_but(living)


def _left_over(fleet: Fleet, deployment: Deployment) -> Leftover | None:
    deployment, resource = look(fleet, deployment)
    why = why_end(fleet, deployment, resource)
    if not why:
        return None
    return Leftover(deployment.resource_name, deployment.provider, why, deployment, None)


def _unknown(fleet: Fleet, resource: Resource) -> Leftover:
    """One that nothing living on record stands for."""
    ended = fleet.store.last_named(resource.name)
    why = f"it should have ended ({ended.reason})" if ended else "it is not on record"
    return Leftover(resource.name, resource.provider, why, None, resource)
