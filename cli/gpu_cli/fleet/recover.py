"""Opening the fleet, also after the store was lost: what still runs says what it is, and is put on record again."""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.inventory import take_inventory
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.keys import Keys
from gpu_cli.fleet.reach.link import reached_at
from gpu_cli.fleet.store import NameTaken, Store, StoreCorrupt
from gpu_cli.locks import Lock, released
from gpu_cli.paths import Paths
from gpu_providers.base import Kind, Link, Resource
from gpu_providers.errors import ProviderError

if TYPE_CHECKING:
    from gpu_cli.fleet.certificates import Certificates

KEY_VARIABLE, TLS_VARIABLE = "VLLM_API_KEY", "GPU_TLS"
"""Of a container's environment: what a launch brings for its endpoint (`node.container_request`)."""
_UNKNOWN_IDLE_S = 900.0
_UNKNOWN_LIFE_S = 86_400.0
_START_S = 3600.0


def open_fleet(paths: Paths, environ: Mapping[str, str], clock: Clock, notify: Callable[[str], object]) -> Fleet:
    """The fleet, with its store open. A corrupt store is moved aside, never removed, and made anew from what runs."""
    path = paths.record
    try:
        return Fleet(paths, environ, Store(path).open(), clock)
    except StoreCorrupt:
        with released(_recovery_lock(paths, clock)):
            return _recovered(paths, environ, clock, notify)


def adopt(fleet: Fleet, resource: Resource) -> Deployment | None:
    """Put a running resource of ours on record; None when it is on record already, be it as ended.

    Its labels say what it is; it is called by its resource name where another living one has its name. What they do
    not say is taken cautiously: it is guarded like any other, and counts as starting until it has answered. To one
    whose key is on another machine nobody here can talk: it may be at work for as long as its deadline allows.
    """
    deployment = described(resource, fleet.clock.now())
    if not has_key(fleet, deployment):
        deployment = replace(deployment, start_deadline_at=deployment.deadline_at)
    return _put_on_record(fleet, deployment)


def adopt_to_end(fleet: Fleet, resource: Resource, why: str) -> Deployment | None:
    """As `adopt`, for one that is to be destroyed: whoever finds it on record from now on ends it."""
    return _put_on_record(fleet, replace(described(resource, fleet.clock.now()), state=State.TERMINATING, reason=why))


def _put_on_record(fleet: Fleet, deployment: Deployment) -> Deployment | None:
    for name in (deployment.name, deployment.resource_name):
        with contextlib.suppress(NameTaken):
            fleet.store.add(replace(deployment, name=name, account=_account(fleet, deployment.provider)))
            return fleet.store.get(deployment.resource_name)
    return None


def adopted(fleet: Fleet, resource: Resource) -> Deployment:
    """As `adopt`, or as it is on record already. Raises UserError BAD_INPUT when it is on record as ended."""
    if made := adopt(fleet, resource):
        return made
    known = fleet.store.get(resource.name)
    if known.is_live:
        return known
    message = f"{resource.name} should have ended here ({known.reason}), and still runs"
    raise UserError(Exit.BAD_INPUT, "ended-here", message, hint="destroy it: gpu gc")


def take_over(fleet: Fleet, resource: Resource) -> Deployment:
    """As `adopted`, with its key and certificate where its cloud shows them: so that it can be used from here."""
    if fleet.store.last_named(resource.name) is None:
        _take_keys(fleet, resource)
    return adopted(fleet, resource)


def _take_keys(fleet: Fleet, resource: Resource) -> None:
    """On this machine they may be already: after a record was lost."""
    keepers: dict[str, Keys | Certificates] = {KEY_VARIABLE: fleet.keys, TLS_VARIABLE: fleet.certificates}
    with contextlib.suppress(ProviderError):
        shown = fleet.provider(resource.provider).environment(resource.resource_id)
        for variable, keeper in keepers.items():
            if variable in shown and not keeper.path(resource.name).exists():
                keeper.keep(resource.name, shown[variable])


def has_key(fleet: Fleet, deployment: Deployment) -> bool:
    """Whether the key of its endpoint can be had on this machine."""
    try:
        return fleet.key_of(deployment) is not None
    except ProviderError:
        return False


def _account(fleet: Fleet, provider: str) -> str:
    """The one that shows its resources now; empty where that cannot be told."""
    try:
        return fleet.provider(provider).account()
    except ProviderError:
        return ""


def _recovered(paths: Paths, environ: Mapping[str, str], clock: Clock, notify: Callable[[str], object]) -> Fleet:
    path = paths.record
    try:
        # Another process was faster, and has made it anew already.
        return Fleet(paths, environ, Store(path).open(), clock)
    except StoreCorrupt:
        moved_to = _move_aside(path, clock)
    notify(f"the record of deployments was unreadable; it is kept as {moved_to}")
    fleet = Fleet(paths, environ, Store(path).open(), clock)
    inventory = take_inventory(fleet)
    for provider, why in inventory.unreached.items():
        notify(f"{provider} could not be asked what still runs: {why}")
    for resource in inventory.resources:
        if adopt(fleet, resource):
            notify(f"{resource.name} still runs at {resource.provider}, and is on record again")
    return fleet


def described(resource: Resource, now: float) -> Deployment:
    """A resource as the deployment that its labels tell of; it is not on record."""
    labels, kind = resource.labels, _kind(resource.labels)
    idle_s = _number(labels, "idle_s") or _UNKNOWN_IDLE_S
    created_at = resource.created_at.replace(tzinfo=resource.created_at.tzinfo or UTC).timestamp()
    return Deployment(
        resource_name=resource.name,
        name=labels.get("name") or resource.name,
        recipe=labels.get("recipe", ""),
        recipe_digest=labels.get("recipe_digest", ""),
        state=State.BOOTING,
        provider=resource.provider,
        kind=kind,
        gpu=labels.get("gpu", ""),
        gpu_count=int(_number(labels, "gpu_count") or 0),
        region=resource.region or labels.get("region", ""),
        model=labels.get("model", ""),
        price_usd_per_hour=resource.full_price,
        idle_s=idle_s,
        deadline_at=_number(labels, "deadline_at") or created_at + _UNKNOWN_LIFE_S,
        start_deadline_at=max(_number(labels, "start_deadline_at") or 0.0, now + _START_S),
        budget_usd=_number(labels, "budget_usd"),
        created_at=created_at,
        resource_id=resource.resource_id,
        endpoint=reached_at(_link(labels), resource.endpoint),
        launched_at=created_at,
        tied=False,
        own_stop_armed=kind is Kind.SERVERLESS and _ends_idle_workers(resource, idle_s),
        most_workers=resource.most_workers,
        metered_at=now if kind is Kind.SERVERLESS else None,
        link=_link(labels),
        host=labels.get("host", ""),
        reason="found running",
    )


def _ends_idle_workers(resource: Resource, idle_s: float) -> bool:
    """By what its cloud reads back, in whole seconds. What is on other nodes cannot be seen from here."""
    return resource.native_idle_s is not None and resource.native_idle_s < idle_s + 1


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
    """None for what is no number; nothing would ever be later than a deadline that is `nan`."""
    try:
        number = float(labels[name])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None


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
