"""`gpu ls`: what lives, what it costs, and what will end it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.ui.output import Result, Table, show

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.keepers import Keepers
    from gpu_cli.fleet.stops import Stop

RECENT_S = 24 * 3600.0


def ls(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also what ended more than a day ago.")] = False,
    as_json: AsJson = False,
) -> None:
    """List deployments: the living ones, and those that ended within a day."""
    from gpu_cli.commands.documents import deployment_document
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.guard_process import guard_lives
    from gpu_cli.fleet.keepers import NO_KEEPERS, keepers
    from gpu_cli.fleet.reconcile import settle
    from gpu_cli.fleet.stops import stops_of
    from gpu_providers.base import Kind

    with open_here() as fleet:
        settled = settle(fleet)
        live = [deployment for deployment, _ in settled]
        now, guarded, kept = fleet.clock.now(), guard_lives(fleet.paths), keepers(fleet) if live else NO_KEEPERS
        ended = fleet.store.ended(since=0.0 if everything else now - RECENT_S)
    shown = (*live, *(ended if everything else _without_passed_over(live, ended)))
    stops = [stops_of(deployment, guard_lives=guarded, keepers=kept) for deployment in shown]
    workers = {one.resource_name: detail for one, detail in settled if one.kind is Kind.SERVERLESS}
    documents = [
        {**deployment_document(one, its_stops, now), **_workers_document(one, workers)}
        for one, its_stops in zip(shown, stops, strict=True)
    ]
    messages = _trouble(live, kept) if shown else ("nothing is running",)
    table = Table(
        ("NAME", "STATE", "WHERE", "$/H", "SPENT", "IDLE", "ENDS", "BASE_URL"),
        tuple(_row(one, its_stops, now, workers) for one, its_stops in zip(shown, stops, strict=True)),
    )
    show(Result({"deployments": documents}, table=table if shown else None, messages=messages), as_json=as_json)


def _trouble(live: "Sequence[Deployment]", kept: "Keepers") -> tuple[str, ...]:
    """Of the guard away from here, where it is needed."""
    from gpu_cli.fleet.away_record import CLOUD

    needed = any(one.provider == CLOUD for one in live)
    return (kept.trouble,) if needed and kept.trouble else ()


def _without_passed_over(live: "Sequence[Deployment]", ended: "Sequence[Deployment]") -> "list[Deployment]":
    """Offers that no cloud would give were passed over for the next one, which is what has become of the name."""
    latest = {one.name: one for one in sorted((*live, *ended), key=lambda one: one.created_at)}
    return [one for one in ended if one.resource_id or latest[one.name] is one]


def _workers_document(deployment: "Deployment", workers: Mapping[str, str]) -> Mapping[str, str]:
    """What the workers of an endpoint do, in its cloud's words; others have none."""
    name = deployment.resource_name
    return {"workers": workers[name]} if name in workers else {}


def _row(deployment: "Deployment", stops: "Sequence[Stop]", now: float, workers: Mapping[str, str]) -> tuple[str, ...]:
    from gpu_cli.commands.stories import seconds_in_words
    from gpu_cli.fleet.stops import idle_for_s
    from gpu_cli.units import format_usd

    where = f"{deployment.provider} {deployment.gpu}"
    return (
        deployment.name,
        str(deployment.state),
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
    from gpu_cli.fleet.stops import ends_at_latest, worst_case_usd
    from gpu_cli.units import format_duration, format_usd

    if not deployment.is_live:
        return deployment.reason
    latest = seconds_in_words(max(0.0, ends_at_latest(deployment) - now))
    warning = "" if any(stop.armed for stop in stops) else "NOTHING WILL END IT: "
    cost = format_usd(worst_case_usd(deployment))
    return f"{warning}idle {format_duration(deployment.idle_s)}, or in {latest} (<= {cost})"
