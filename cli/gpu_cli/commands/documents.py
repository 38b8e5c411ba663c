"""The JSON of deployments: keys written by hand, promised to scripts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.all_stops import all_stops
from gpu_cli.fleet.end.stops import Stop, idle_for_s
from gpu_cli.fleet.fleet import Fleet


def deployment_with_stops(fleet: Fleet, deployment: Deployment) -> Mapping[str, object]:
    """One deployment as it is now, with what will end it."""
    return deployment_document(deployment, stops_now(fleet, deployment), fleet.clock.now())


def stops_now(fleet: Fleet, deployment: Deployment) -> Sequence[Stop]:
    """What will end one deployment, by whom there is."""
    return all_stops(fleet, [deployment])[deployment.resource_name]


def deployment_document(deployment: Deployment, stops: Sequence[Stop], now: float) -> Mapping[str, object]:
    """One deployment. Times are ISO 8601, UTC; never holds a key."""
    idle = idle_for_s(deployment, now)
    return {
        "name": deployment.name,
        "recipe": deployment.recipe,
        "state": str(deployment.state),
        "provider": deployment.provider,
        "kind": str(deployment.kind),
        "gpu": deployment.gpu,
        "gpu_count": deployment.gpu_count,
        "region": deployment.region,
        "resource_id": deployment.resource_id,
        "base_url": deployment.base_url,
        "model": deployment.model,
        "price_usd_per_hour": deployment.price_usd_per_hour,
        "spent_usd": round(deployment.spent_usd(now), 6),
        "created_at": iso(deployment.created_at),
        "ready_at": iso(deployment.ready_at),
        "ended_at": iso(deployment.ended_at),
        "reason": deployment.reason,
        "idle_seconds": None if idle is None else round(idle, 1),
        "stops": [_stop_document(stop) for stop in stops],
    }


def iso(at: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _stop_document(stop: Stop) -> Mapping[str, object]:
    return {
        "kind": stop.kind,
        "by": stop.by,
        "armed": stop.armed,
        "at": iso(stop.at),
        "after_s": stop.after_s,
        "installed": stop.installed if stop.by == "guard" else None,
    }
