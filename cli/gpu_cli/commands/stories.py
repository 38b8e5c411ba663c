"""Sentences about deployments, for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

from gpu_cli.commands.documents import stops_now
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.stops import Stop, ends_at_latest, group_end_of, worst_case_usd
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import AWAY
from gpu_cli.fleet.guard.keepers import NEEDS_KEEPER
from gpu_cli.units import format_duration, format_usd
from gpu_providers.base import Kind


def stops_in_words(fleet: Fleet, deployment: Deployment) -> str:
    """What will end it, by whose hand, when at the latest, and the worst cost until then."""
    stops = stops_now(fleet, deployment)
    idle, deadline = _hands(stops, "idle"), _hands(stops, "deadline")
    on_idle = "its workers stop" if deployment.kind is Kind.SERVERLESS else "ends"
    group_ends_at = group_end_of(stops)
    at_last = "it ends" if deployment.kind is Kind.SERVERLESS else ""
    latest_at = at_in_words(ends_at_latest(deployment, group_ends_at))
    latest = f"{at_last} at {latest_at} at the latest ({deadline})".strip()
    return (
        f"{on_idle} after {format_duration(deployment.idle_s)} idle ({idle}), {latest}; "
        f"worst cost {format_usd(worst_case_usd(deployment, group_ends_at))}"
    )


def gap_in_words(fleet: Fleet, deployment: Deployment) -> str:
    """When nothing would end it, where it all hangs on this machine; empty otherwise."""
    armed = [stop for stop in stops_now(fleet, deployment) if stop.kind == "deadline" and stop.armed]
    if deployment.kind not in NEEDS_KEEPER or [stop.by for stop in armed] != ["guard"]:
        return ""
    so_far = "" if deployment.state is State.READY else "so far "
    reboot = "" if armed[0].installed else " (nor does that guard survive a reboot: gpu guard install)"
    return f"{so_far}only the guard on this machine ends it: while this machine sleeps or is off, it bills on{reboot}"


def price_in_words(deployment: Deployment) -> str:
    """What an hour of it costs."""
    price = f"{format_usd(deployment.price_usd_per_hour)}/h"
    return f"{price} while a worker runs" if deployment.kind is Kind.SERVERLESS else price


def at_in_words(at: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def seconds_in_words(seconds: float | None) -> str:
    """A length of time, to the second; a dash for none."""
    return "-" if seconds is None else format_duration(round(seconds))


def _hands(stops: Sequence[Stop], kind: str) -> str:
    names = [_hand(stop) for stop in stops if stop.kind == kind and stop.armed]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "NOT ARMED"


def _hand(stop: Stop) -> str:
    if stop.by == AWAY:
        return "guard at Modal"
    return "installed guard" if stop.installed else stop.by
