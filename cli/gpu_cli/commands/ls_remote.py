"""`gpu ls --remote`: what the clouds say that runs, on record here or not."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_cli.commands.documents import deployment_document, deployment_with_stops
from gpu_cli.commands.here import open_here
from gpu_cli.commands.stories import seconds_in_words
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.inventory import take_inventory
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.recover import described
from gpu_cli.ui.output import Result, Table, show
from gpu_cli.units import format_usd
from gpu_providers.base import Resource

COLUMNS = ("NAME", "RESOURCE", "STATE", "WHERE", "$/H", "AGE", "ON RECORD")


@dataclass(frozen=True)
class Remote:
    """A resource, and the deployment that it is: by the record, or else by its labels."""

    resource: Resource
    deployment: Deployment
    is_on_record: bool


def list_remote(*, as_json: bool) -> None:
    """Every cloud is asked; one that does not answer has its line."""
    with open_here() as fleet:
        inventory, now = take_inventory(fleet), fleet.clock.now()
        found = [_remote(fleet, resource, now) for resource in inventory.resources]
        documents = [_document(fleet, one, now) for one in found]
    unreached = [{"provider": name, "error": why} for name, why in inventory.unreached.items()]
    messages = [f"{name} does not say what runs there: {why}" for name, why in inventory.unreached.items()]
    if not (found or messages):
        messages = ["nothing is running"]
    table = Table(COLUMNS, tuple(_row(one, now) for one in found)) if found else None
    document = {"deployments": documents, "unreached": unreached}
    show(Result(document, table=table, messages=tuple(messages)), as_json=as_json)


def _remote(fleet: Fleet, resource: Resource, now: float) -> Remote:
    known = fleet.store.find_live(resource.name)
    if known and known.resource_id in ("", resource.resource_id):
        return Remote(resource, known, is_on_record=True)
    return Remote(resource, described(resource, now), is_on_record=False)


def _document(fleet: Fleet, one: Remote, now: float) -> Mapping[str, object]:
    """As that of `gpu ls`. What ends one that is on no record is not known here."""
    known = deployment_with_stops(fleet, one.deployment) if one.is_on_record else None
    return {
        **(known or deployment_document(one.deployment, (), now)),
        "resource_name": one.resource.name,
        "resource_state": str(one.resource.state),
        "on_record": one.is_on_record,
    }


def _row(one: Remote, now: float) -> tuple[str, ...]:
    resource, deployment = one.resource, one.deployment
    where = f"{resource.provider} {deployment.gpu}".strip()
    return (
        deployment.name,
        resource.name,
        str(resource.state),
        where if deployment.gpu_count < 2 else f"{where} x{deployment.gpu_count}",
        format_usd(deployment.price_usd_per_hour),
        seconds_in_words(max(0.0, now - deployment.created_at)),
        "yes" if one.is_on_record else "no",
    )
