"""`gpu guard`: what ends deployments from outside, on this machine and away from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, Table, show

if TYPE_CHECKING:  # imported where used, so that `gpu --help` stays fast
    from gpu_cli.fleet.away.record import Away, Seen
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.guard.unit import Installed

PLACES = ("modal",)

guard_app = typer.Typer(
    help="The guard: what ends deployments from outside when nothing else does. Commands start it by themselves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@guard_app.callback(invoke_without_command=True)
def guard(
    context: typer.Context,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="PORT|off", help="Have it serve Prometheus metrics at 127.0.0.1:PORT."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Print a Grafana dashboard for these metrics, as JSON.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The guard: what ends deployments from outside when nothing else does. Commands start it by themselves."""
    from gpu_cli.commands.guard_metrics import the_dashboard, with_metrics_at

    if context.invoked_subcommand and not (metrics or dashboard or as_json):
        return
    if context.invoked_subcommand or (metrics is None) != dashboard:
        message = "gpu guard takes a command, --metrics PORT or --dashboard: one of them"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="see gpu guard --help")
    show(the_dashboard() if metrics is None else with_metrics_at(metrics), as_json=as_json)


@guard_app.command()
def status(as_json: AsJson = False) -> None:
    """Say which guards there are, and what they guard."""
    from gpu_cli.commands.guard_metrics import metrics_document, metrics_in_words
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.away.record import recorded
    from gpu_cli.fleet.guard.process import guard_lives, recorded_guard
    from gpu_cli.fleet.guard.services import service_manager
    from gpu_cli.fleet.guard.unit import installed

    with open_here() as fleet:
        running = guard_lives(fleet.paths)
        pid, version = recorded_guard(fleet.paths) if running else (0, "")
        service, away = installed(fleet), recorded(fleet.paths)
        hint = service_manager(fleet.environ).hint() if service else ""
        away_document, away_words = _away_now(fleet, away) if away else (None, "no (gpu guard deploy --on modal)")
        guards = [deployment.name for deployment in fleet.store.live()]
        metrics = metrics_document(fleet.paths)
    document = {
        "running": running,
        "pid": pid or None,
        "program_version": version or None,
        "service": _service_document(service),
        "away": away_document,
        "metrics": metrics,
        "guards": guards,
    }
    rows = (
        ("on this machine", f"runs: pid {pid}, version {version}" if pid else "runs" if running else "does not run"),
        ("as a service", _service_in_words(service)),
        ("away", away_words),
        ("metrics", metrics_in_words(metrics)),
        ("guards", ", ".join(guards) or "nothing: nothing lives"),
    )
    messages = tuple(filter(None, [hint]))
    show(Result(document, table=Table(("GUARD", "STATE"), rows), messages=messages), as_json=as_json)


@guard_app.command()
def install(as_json: AsJson = False) -> None:
    """Make it a service of yours, which a reboot brings back.

    Of systemd, or of launchd. Keys that are in the environment are kept for it in a file that only you can read.
    """
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.guard import unit as guard_unit

    with open_here() as fleet:
        hints = guard_unit.install(fleet)
        service = guard_unit.installed(fleet)
    messages = ("the guard is a service of yours, and it runs", *hints)
    show(Result({"service": _service_document(service)}, messages=messages), as_json=as_json)


@guard_app.command()
def uninstall(as_json: AsJson = False) -> None:
    """Remove the service, with the keys that were kept for it."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.guard import unit as guard_unit

    with open_here() as fleet:
        removed = guard_unit.uninstall(fleet)
    message = "uninstalled; commands start the guard as before" if removed else "it is not installed"
    show(Result({"removed": removed}, messages=(message,)), as_json=as_json)


@guard_app.command()
def deploy(
    on: Annotated[str, typer.Option("--on", help="Where: modal.")] = "modal",
    as_json: AsJson = False,
) -> None:
    """Put a guard at Modal, away from this machine.

    It is a scheduled function, which gets your key of the cloud that it watches.
    """
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.away import deploy as away
    from gpu_cli.fleet.away.record import seen
    from gpu_cli.ui.stages import progress_on_stderr

    if on not in PLACES:
        raise UserError(Exit.BAD_INPUT, "usage", f"--on: {on!r} is no place for a guard", hint="one of: modal")
    with open_here() as fleet, progress_on_stderr() as progress:
        deployed = away.deploy(fleet, progress)
        document = _away_document(deployed, seen(fleet.paths), current=True)
    message = f"a guard is at {deployed.on.capitalize()}; after a change of the key: gpu guard deploy again"
    show(Result({"away": document}, messages=(message,)), as_json=as_json)


@guard_app.command()
def undeploy(as_json: AsJson = False) -> None:
    """Remove the guard at Modal, with the key that it got."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.away import deploy as away

    with open_here() as fleet:
        removed = away.undeploy(fleet)
    message = "removed, with the key that it got" if removed else "there was none"
    show(Result({"removed": removed}, messages=(message,)), as_json=as_json)


def _service_document(service: "Installed | None") -> Mapping[str, object] | None:
    if service is None:
        return None
    return {
        "path": str(service.path),
        "active": service.active,
        "enabled": service.enabled,
        "current": service.current,
    }


def _service_in_words(service: "Installed | None") -> str:
    if service is None:
        return "no (gpu guard install)"
    again = f"(gpu guard install): {service.path}"
    if not service.active:
        return f"installed, and does not run {again}"
    if not service.enabled:
        return f"runs, but is disabled, and no reboot brings it back {again}"
    if not service.current:
        return f"runs, without some of the keys that are set here {again}"
    return f"runs: {service.path}"


def _away_now(fleet: "Fleet", away: "Away") -> tuple[Mapping[str, object], str]:
    """As Modal tells it at this moment, for scripts and for people."""
    from gpu_cli.fleet.away.deploy import look
    from gpu_cli.fleet.away.record import seen
    from gpu_cli.fleet.guard.keepers import is_of_this_account

    trouble = ""
    try:
        look(fleet)
    except UserError as error:
        trouble = error.message
    current, sight = is_of_this_account(fleet, away), seen(fleet.paths)
    return _away_document(away, sight, current=current), _away_in_words(away, sight, trouble, current=current)


def _away_document(away: "Away", sight: "Seen", *, current: bool) -> Mapping[str, object]:
    from gpu_cli.commands.documents import iso

    return {
        "on": away.on,
        "deployed_at": iso(away.deployed_at),
        "current": current,
        "at_work": sight.at_work,
        "asked_at": iso(sight.asked_at or None),
        "problem": sight.problem,
    }


def _away_in_words(away: "Away", sight: "Seen", trouble: str, *, current: bool) -> str:
    from gpu_cli.commands.stories import at_in_words

    unless_well = (
        "" if current else "with another account's key than this shell has (gpu guard deploy)",
        trouble and f"as far as is known: {trouble}",
        sight.problem,
    )
    return "; ".join((f"at {away.on.capitalize()} since {at_in_words(away.deployed_at)}", *filter(None, unless_well)))
