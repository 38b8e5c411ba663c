"""`gpu adopt`: put on record what another machine launched, or a record that was lost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, show

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.end.inventory import Inventory
    from gpu_cli.fleet.fleet import Fleet
    from gpu_providers.base import Resource


def adopt(
    names: Annotated[
        list[str] | None, typer.Argument(help="As `gpu ls --remote` shows them: by deployment, or by resource.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is on no record here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put on record what runs at a cloud and was launched elsewhere: from now on it is guarded from here, too."""
    from gpu_cli.commands.documents import deployment_with_stops
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.end.inventory import take_inventory

    if bool(names) == everything:
        raise UserError(Exit.BAD_INPUT, "usage", "name what is to be adopted, or say --all", hint="gpu ls --remote")
    with open_here() as fleet:
        inventory = take_inventory(fleet)
        chosen = _strangers(fleet, inventory) if everything else _named(fleet, inventory, names or [])
        adopted = _adopt_all(fleet, chosen)
        messages = [line for deployment in adopted for line in _told(fleet, deployment)]
        document = {"adopted": [deployment_with_stops(fleet, deployment) for deployment in adopted]}
    if everything and inventory.unreached:
        raise _not_reached(inventory, document)
    show(Result(document, messages=tuple(messages or ["nothing is to be adopted"])), as_json=as_json)


def _strangers(fleet: "Fleet", inventory: "Inventory") -> "Sequence[Resource]":
    """Those that no record here tells of, be it as ended."""
    return [one for one in inventory.resources if fleet.store.last_named(one.name) is None]


def _named(fleet: "Fleet", inventory: "Inventory", names: Iterable[str]) -> "Sequence[Resource]":
    """Raises UserError for a name that none has, or several have."""
    from gpu_cli.commands.here import no_such

    found = {name: inventory.the_one(name) for name in names}
    for name, resource in found.items():
        if resource is None:
            raise no_such(fleet, name)
    return [resource for resource in found.values() if resource]


def _adopt_all(fleet: "Fleet", resources: "Iterable[Resource]") -> "Sequence[Deployment]":
    """Guarded from here on, also those before one that cannot be adopted."""
    from gpu_cli.fleet.guard.process import ensure_guard
    from gpu_cli.fleet.recover import take_over

    try:
        return [take_over(fleet, resource) for resource in resources]
    finally:
        if fleet.store.live():
            ensure_guard(fleet)


def _told(fleet: "Fleet", deployment: "Deployment") -> Sequence[str]:
    """What will end it, and what cannot be done without its key."""
    from gpu_cli.commands.stories import at_in_words, stops_in_words
    from gpu_cli.fleet.end.stops import ends_at_latest
    from gpu_cli.fleet.recover import has_key

    on_record = f"{deployment.name} ({deployment.resource_name}) is on record"
    if has_key(fleet, deployment):
        return [f"{on_record}: {stops_in_words(fleet, deployment)}"]
    return [
        f"{on_record}: the guard here ends it at {at_in_words(ends_at_latest(deployment))} at the latest",
        f"{deployment.name}: its API key is on the machine from which it was launched; from here it can be ended, but "
        "not used, nor seen to be idle",
    ]


def _not_reached(inventory: "Inventory", document: Mapping[str, object]) -> UserError:
    message = f"not all clouds could be asked: {inventory.unreached_in_words()}"
    hint = "run gpu adopt --all again when they answer"
    return UserError(Exit.CLEANUP_UNCONFIRMED, "not-reached", message, hint=hint, document=document)
