"""`gpu down`: gone, and verified gone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, complete_deployment
from gpu_cli.errors import UserError, as_one
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, print_message, show

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_providers.base import Resource


def down(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Deployments; default: the only one.", autocompletion=complete_deployment),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All deployments.")] = False,
    as_json: AsJson = False,
) -> None:
    """End deployments, and come back when their clouds say that they are gone."""
    from gpu_cli.commands.documents import deployment_with_stops
    from gpu_cli.commands.here import open_here
    from gpu_cli.units import format_usd

    with open_here() as fleet:
        chosen, gone_before = _chosen(fleet, [] if everything else names or [], everything)
        ended = _end_all(fleet, chosen)
        documents = [deployment_with_stops(fleet, deployment) for deployment in ended]
    messages = [f"{one.name} is gone; it cost {format_usd(one.spent_usd(one.ended_at or 0.0))}" for one in ended]
    messages += [f"{name} was gone already" for name in gone_before]
    show(Result({"ended": documents}, messages=tuple(messages or ["nothing is running"])), as_json=as_json)


def _chosen(fleet: "Fleet", names: Sequence[str], everything: bool) -> tuple[Sequence["Deployment"], Sequence[str]]:
    """What is to be ended, and the names of what has ended before. Raises UserError for a name that never was."""
    from gpu_cli.fleet.end.replace import call_off
    from gpu_cli.fleet.launch.called_off import call_off_launches

    live = fleet.store.live()
    if len(live) > 1 and not (names or everything):
        running = ", ".join(deployment.name for deployment in live)
        raise UserError(Exit.BAD_INPUT, "which-one", f"several are running: {running}", hint="name them, or say --all")
    call_off_launches(fleet, names)
    call_off(fleet, names)  # before the last look at the record: a replacement that is not there by then never will be
    if not names:
        return fleet.store.live(), []
    meant = [one for name in names for one in _racing(fleet, name) or [name]]
    found = {name: _find(fleet, name) for name in dict.fromkeys(meant)}
    chosen = [_on_record(fleet, one) for one in found.values() if one]
    return chosen, [name for name, one in found.items() if not one]


def _racing(fleet: "Fleet", name: str) -> Sequence[str]:
    """The resources of those that race to become the deployment of this name; none when there is one already."""
    from gpu_cli.fleet.launch.race_names import racers_for

    live = fleet.store.live()
    return [] if fleet.store.find_live(name) else [one.resource_name for one in racers_for(name, live)]


def _find(fleet: "Fleet", name: str) -> "Deployment | Resource | None":
    """The living deployment; None for one that has ended. One that another machine launched is found by its resource
    name, or by its own, which every cloud knows.
    """
    from gpu_cli.commands.here import no_such
    from gpu_cli.fleet.end.inventory import take_inventory_of

    if found := fleet.store.find_live(name):
        return found
    if fleet.store.last_named(name):
        return None
    inventory = take_inventory_of(fleet, name)
    resource = inventory.the_one(name)
    if resource is None:
        raise no_such(fleet, name)
    if inventory.unreached and resource.name != name:
        print_message(f"whether another {name} runs is not known: {inventory.unreached_in_words()}")
    return resource


def _on_record(fleet: "Fleet", found: "Deployment | Resource") -> "Deployment":
    from gpu_cli.fleet.recover import adopted
    from gpu_providers.base import Resource

    return adopted(fleet, found) if isinstance(found, Resource) else found


def _end_all(fleet: "Fleet", chosen: Sequence["Deployment"]) -> Sequence["Deployment"]:
    """Each is ended, also when one before it does not confirm. Raises the UserError that names all that may bill."""
    from gpu_cli.fleet.end.teardown import end_on_request

    ended, problems = [], []
    for deployment in chosen:
        try:
            ended.append(end_on_request(fleet, deployment))
        except UserError as error:
            problems.append(error)
    if problems:
        raise as_one(problems)
    return ended
