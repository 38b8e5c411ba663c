"""`gpu ls`: what lives, what it costs, and what will end it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.ui.output import Result, Table, show

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.end.stops import Stop
    from gpu_cli.fleet.guard.keepers import Keepers
    from gpu_cli.fleet.guard.strangers import Stranger

RECENT_S = 24 * 3600.0


def ls(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also what ended more than a day ago.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Instead: what runs at every cloud, wherever it was launched.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List deployments: the living ones, and those that ended within a day."""
    if remote:
        from gpu_cli.commands.ls_remote import list_remote

        list_remote(as_json=as_json)
        return
    from gpu_cli.commands.documents import deployment_document
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.end.all_stops import all_stops
    from gpu_cli.fleet.end.settle import settle
    from gpu_cli.fleet.guard.keepers import NO_KEEPERS, keepers
    from gpu_cli.fleet.guard.strangers import strangers
    from gpu_providers.base import Kind

    with open_here() as fleet:
        seen = settle(fleet)
        live = [one.deployment for one in seen]
        now, kept = fleet.clock.now(), keepers(fleet) if live else NO_KEEPERS
        ended = fleet.store.ended(since=0.0 if everything else now - RECENT_S)
        unknown = strangers(fleet)
        shown = (*live, *(ended if everything else _without_passed_over(live, ended)))
        stops = all_stops(fleet, shown)
    problems = {one.deployment.resource_name: one.problem for one in seen if one.problem}
    workers = {
        one.deployment.resource_name: one.resource.detail if one.resource else ""
        for one in seen
        if one.deployment.kind is Kind.SERVERLESS
    }
    documents = [
        {
            **deployment_document(one, stops[one.resource_name], now),
            **_told(one, "workers", workers),
            **_told(one, "problem", problems),
        }
        for one in shown
    ]
    messages = (*_unanswered(problems), *_trouble(live, kept)) if shown else ("nothing is running",)
    messages += _on_no_record(unknown)
    table = Table(
        ("NAME", "STATE", "WHERE", "$/H", "SPENT", "IDLE", "ENDS", "BASE_URL"),
        tuple(_row(one, stops[one.resource_name], now, workers, problems) for one in shown),
    )
    show(Result({"deployments": documents}, table=table if shown else None, messages=messages), as_json=as_json)


def _trouble(live: "Sequence[Deployment]", kept: "Keepers") -> tuple[str, ...]:
    """Of the guard away from here, where it is needed."""
    from gpu_cli.fleet.away.record import CLOUD

    needed = any(one.provider == CLOUD for one in live)
    return (kept.trouble,) if needed and kept.trouble else ()


def _without_passed_over(live: "Sequence[Deployment]", ended: "Sequence[Deployment]") -> "list[Deployment]":
    """Offers that no cloud would give were passed over for the next one, which is what has become of the name. Who
    raced has its name for the race only.
    """
    from gpu_cli.fleet.launch.race_names import is_racer

    latest = {one.name: one for one in sorted((*live, *ended), key=lambda one: one.created_at)}
    return [one for one in ended if one.resource_id or (latest[one.name] is one and not is_racer(one))]


def _told(deployment: "Deployment", key: str, by_name: Mapping[str, str]) -> Mapping[str, str]:
    """What its cloud says of the workers of an endpoint, or why it says nothing; others have no such key."""
    name = deployment.resource_name
    return {key: by_name[name]} if name in by_name else {}


def _unanswered(problems: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with clouds, each once."""
    return tuple(f"{problem}: shown as it was last seen" for problem in dict.fromkeys(problems.values()))


def _on_no_record(unknown: "Sequence[Stranger]") -> tuple[str, ...]:
    """One line of all that the guard has seen at clouds."""
    if not unknown:
        return ()
    names = ", ".join(f"{one.resource_name} ({one.provider})" for one in unknown)
    return (f"on no record here, and may bill: {names}; see gpu ls --remote",)


def _row(
    deployment: "Deployment",
    stops: "Sequence[Stop]",
    now: float,
    workers: Mapping[str, str],
    problems: Mapping[str, str],
) -> tuple[str, ...]:
    from gpu_cli.commands.stories import seconds_in_words
    from gpu_cli.fleet.end.stops import idle_for_s
    from gpu_cli.units import format_usd

    where = f"{deployment.provider} {deployment.gpu}"
    return (
        deployment.name,
        f"{deployment.state} (not answered)" if deployment.resource_name in problems else str(deployment.state),
        where if deployment.gpu_count < 2 else f"{where} x{deployment.gpu_count}",
        format_usd(deployment.price_usd_per_hour),
        format_usd(deployment.spent_usd(now)),
        workers.get(deployment.resource_name) or seconds_in_words(idle_for_s(deployment, now)),
        _end(deployment, stops, now),
        deployment.base_url if deployment.is_live else "",
    )


def _end(deployment: "Deployment", stops: "Sequence[Stop]", now: float) -> str:
    """What will end it, or what has."""
    from gpu_cli.commands.stories import seconds_in_words
    from gpu_cli.fleet.end.stops import ends_at_latest, group_end_of, worst_case_usd
    from gpu_cli.units import format_duration, format_usd

    if not deployment.is_live:
        return deployment.reason
    group_ends_at = group_end_of(stops)
    latest = seconds_in_words(max(0.0, ends_at_latest(deployment, group_ends_at) - now))
    cost = format_usd(worst_case_usd(deployment, group_ends_at))
    armed = {stop.kind for stop in stops if stop.armed}
    idle = "" if armed and "idle" not in armed else f"idle {format_duration(deployment.idle_s)}, or "
    return f"{_warning(deployment, stops)}{idle}in {latest} (<= {cost})"


def _warning(deployment: "Deployment", stops: "Sequence[Stop]") -> str:
    """Of one that nothing will end, or only what somebody may kill."""
    from gpu_cli.fleet.deployment import State
    from gpu_cli.fleet.guard.keepers import NEEDS_KEEPER

    hands = {stop.by for stop in stops if stop.armed}
    if not hands:
        return "NOTHING WILL END IT: "
    hangs_on_here = deployment.kind in NEEDS_KEEPER and deployment.state is State.READY and hands == {"guard"}
    return "ONLY FROM THIS MACHINE: " if hangs_on_here else ""
