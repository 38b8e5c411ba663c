"""Opening the fleet, also after the store was lost: what still runs says what it is, and is put on record again."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.link import reached_at
from gpu_cli.fleet.store import NameTaken, Store, StoreCorrupt
from gpu_cli.locks import Lock, released
from gpu_cli.paths import Paths
from gpu_providers.base import RESOURCE_PREFIX, Kind, Link, Provider, Resource
from gpu_providers.errors import NoCredentials, ProviderError

_UNKNOWN_IDLE_S = 900.0
_UNKNOWN_LIFE_S = 86_400.0
_START_S = 3600.0


def open_fleet(paths: Paths, environ: Mapping[str, str], clock: Clock, notify: Callable[[str], object]) -> Fleet:
    """The fleet, with its store open. A corrupt store is moved aside, never removed, and made anew from what runs."""
    path = paths.state / "gpu.db"
    try:
        return Fleet(paths, environ, Store(path).open(), clock)
    except StoreCorrupt:
        with released(_recovery_lock(paths, clock)):
            return _recovered(paths, environ, clock, notify)


def adopt(fleet: Fleet, resource: Resource) -> Deployment | None:
    """Put a running resource of ours on record; None when it is on record already, be it as ended.

    Its labels say what it is; it is called by its resource name where another living one has its name. What they do
    not say is taken cautiously: it is guarded like any other, and counts as starting until it has answered.
    """
    deployment = described(resource, fleet.clock.now())
    for name in (deployment.name, resource.name):
        with contextlib.suppress(NameTaken):
            fleet.store.add(replace(deployment, name=name))
            return fleet.store.get(resource.name)
    return None


def adopt_by_name(fleet: Fleet, resource_name: str) -> Deployment | None:
    """A resource that another machine launched, found at its cloud by name; None when no cloud knows it.

    Raises UserError CLEANUP_UNCONFIRMED when none knows it and one that might could not be asked.
    """
    if not resource_name.startswith(RESOURCE_PREFIX):
        return None
    providers, broken = fleet.providers()
    unanswered = [error.message for error in broken]
    for provider in providers:
        try:
            if resource := provider.find(resource_name):
                return adopt(fleet, resource)
        except NoCredentials:  # a cloud that the user does not use
            continue
        except ProviderError as error:
            unanswered.append(f"{provider.name}: {error.message}")
    if unanswered:
        message = f"{resource_name} may exist: not all clouds could be asked ({'; '.join(unanswered)})"
        raise UserError(
            Exit.CLEANUP_UNCONFIRMED, "not-reached", message, hint="try again", still_billing=[resource_name]
        )
    return None


def _recovered(paths: Paths, environ: Mapping[str, str], clock: Clock, notify: Callable[[str], object]) -> Fleet:
    path = paths.state / "gpu.db"
    try:
        # Another process was faster, and has made it anew already.
        return Fleet(paths, environ, Store(path).open(), clock)
    except StoreCorrupt:
        moved_to = _move_aside(path, clock)
    notify(f"the record of deployments was unreadable; it is kept as {moved_to}")
    fleet = Fleet(paths, environ, Store(path).open(), clock)
    providers, broken = fleet.providers()
    for error in broken:
        notify(f"not asked what still runs: {error.message}")
    for provider in providers:
        _adopt_all(fleet, provider, notify)
    return fleet


def _adopt_all(fleet: Fleet, provider: Provider, notify: Callable[[str], object]) -> None:
    try:
        resources = provider.list_resources()
    except NoCredentials:
        return
    except ProviderError as error:
        notify(f"{provider.name} could not be asked what still runs: {error.message}")
        return
    for resource in resources:
        if adopt(fleet, resource):
            notify(f"{resource.name} still runs at {provider.name}, and is on record again")


def described(resource: Resource, now: float) -> Deployment:
    """A resource as the deployment that its labels tell of; it is not on record."""
    labels = resource.labels
    created_at = resource.created_at.replace(tzinfo=resource.created_at.tzinfo or UTC).timestamp()
    return Deployment(
        resource_name=resource.name,
        name=labels.get("name") or resource.name,
        recipe=labels.get("recipe", ""),
        recipe_digest=labels.get("recipe_digest", ""),
        state=State.BOOTING,
        provider=resource.provider,
        kind=_kind(labels),
        gpu=labels.get("gpu", ""),
        gpu_count=int(_number(labels, "gpu_count") or 0),
        region=labels.get("region", ""),
        model=labels.get("model", ""),
        price_usd_per_hour=resource.price_usd_per_hour,
        idle_s=_number(labels, "idle_s") or _UNKNOWN_IDLE_S,
        deadline_at=_number(labels, "deadline_at") or created_at + _UNKNOWN_LIFE_S,
        start_deadline_at=max(_number(labels, "start_deadline_at") or 0.0, now + _START_S),
        budget_usd=_number(labels, "budget_usd"),
        created_at=created_at,
        resource_id=resource.resource_id,
        endpoint=reached_at(_link(labels), resource.endpoint),
        launched_at=created_at,
        tied=False,
        link=_link(labels),
        host=labels.get("host", ""),
        reason="found running",
    )


def _kind(labels: Mapping[str, str]) -> Kind:
    try:
        return Kind(labels["kind"])
    except (KeyError, ValueError):
        return Kind.POD


def _link(labels: Mapping[str, str]) -> Link:
    try:
        return Link(labels["link"])
    except (KeyError, ValueError):
        return Link.DIRECT


def _number(labels: Mapping[str, str], name: str) -> float | None:
    try:
        return float(labels[name])
    except (KeyError, ValueError):
        return None


def _move_aside(path: Path, clock: Clock) -> Path:
    stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return path.rename(target)


def _recovery_lock(paths: Paths, clock: Clock) -> Lock:
    """One process at a time; one that does not come back is not waited for."""
    lock, give_up_at = Lock(paths.state / "locks" / "recover.lock"), clock.now() + 60
    while not lock.try_acquire() and clock.now() < give_up_at:
        clock.sleep(0.1)
    return lock
