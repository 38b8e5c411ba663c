"""What Vast.ai says of an instance, in our nouns.

Fields as in https://docs.vast.ai/api-reference and in recorded answers: any of them may be missing for a while.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from gpu_providers.base import RESOURCE_PREFIX, Resource, ResourceState
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.values import Json, amount, mark, number, part, text, web_url
from gpu_providers.vast.packing import unpack, unpack_labels
from gpu_providers.vast.refusals import masked
from gpu_providers.vast.unpack import LABELS

DISK_GB, PORT, USD_PER_HOUR = "disk_gb", "port", "usd_per_hour"
"""What we keep with an instance besides its labels: what was asked for, in the end at what price."""

FLIP_S = 30.0
"""A young contract may be meant to be stopped for so long, and run after all."""
_DETAIL_CHARACTERS = 160

_DEAD: Mapping[str, str] = {
    "exited": "its container has ended",
    "stopped": "it is stopped",
    "frozen": "its container is frozen",
}
_OFFLINE = "offline"
_ONLY_DISK_BILLS = ("", "created", "loading", "exited", "stopped", "unknown")
_SILENT: Mapping[str, str] = {"unknown": "its host gives no sign of life", _OFFLINE: "its host is offline"}
"""During a start that is the end. Later the host may come back, with what runs on it; nothing bills until it does
(docs.vast.ai, billing)."""


def resource(instance: Json, now: datetime) -> Resource:
    """What Vast.ai says of it. Raises ProviderUnavailable when that lacks its id."""
    what, detail = state(instance, now)
    labels = labels_of(instance)
    return Resource(
        provider="vast",
        resource_id=id_of(instance),
        name=text(instance, "label"),
        state=what,
        endpoint=endpoint(instance),
        price_usd_per_hour=usd_per_hour(instance),
        created_at=created_at(instance) or now,
        labels=labels,
        detail=detail,
        region=text(instance, "geolocation"),
        full_price_usd_per_hour=_full_usd_per_hour(instance),
    )


def usd_per_hour(instance: Json) -> float:
    """What it costs at this moment: GPUs bill while it runs, its disk as long as its host is online, and nothing bills
    while that is not (docs.vast.ai, billing). By a status that says nothing to us it runs.
    """
    status = text(instance, "actual_status")
    if status == _OFFLINE:
        return 0.0
    if status not in _ONLY_DISK_BILLS:
        return _full_usd_per_hour(instance)
    disk, base = amount(instance.get("storage_total_cost")), amount(instance.get("dph_base"))
    full = _full_usd_per_hour(instance)
    return disk if disk is not None else max(full - (base or 0.0), 0.0)


def id_of(instance: Json) -> str:
    """Raises ProviderUnavailable where there is none: ended by a wrong id, a thing would seem to be gone."""
    found = str(instance.get("id"))
    if re.fullmatch(r"[1-9][0-9]{0,17}", found):
        return found
    raise ProviderUnavailable("Vast.ai tells of an instance without its id", hint="try again later")


def is_ours(instance: Json) -> bool:
    """Somebody's instance that is called gpu-something is not. One whose labels came back damaged is.

    Whatever else has a label of its own is not looked at any closer: how others write environments is their matter.
    """
    if (text(instance, "label") or RESOURCE_PREFIX).startswith(RESOURCE_PREFIX):
        return _is_marked(instance) and _label(instance).startswith(RESOURCE_PREFIX)
    return False


def is_named(instance: Json, name: str) -> bool:
    """Whether it is ours and of this name; where Vast.ai does not show its environment, the name alone decides.

    A name that we gave was given once: not to know it again would leave the instance running.
    """
    return _label(instance) == name and (is_ours(instance) or not instance.get("extra_env"))


def _label(instance: Json) -> str:
    """Empty for one without. Raises ProviderUnavailable for one of ours that is shown without its label."""
    label: str = mark(instance, "label", str) or ""
    if not label and _is_marked(instance):
        raise ProviderUnavailable("Vast.ai shows an instance of ours without its label", hint="try again later")
    return label


def _is_marked(instance: Json) -> bool:
    """Raises ProviderUnavailable where its environment cannot be read."""
    shown = mark(instance, "extra_env", list, Mapping) or ()
    variables = list(_variables(shown))
    if len(variables) < len(shown):
        raise ProviderUnavailable("Vast.ai shows an environment that cannot be read", hint="try again later")
    return any(name.startswith(LABELS) for name, _ in variables)


def labels_of(instance: Json) -> Mapping[str, str]:
    """As they were given, with what we keep besides; empty when it is not ours."""
    return unpack_labels(dict(_variables(instance.get("extra_env"))))


def environment_of(instance: Json) -> Mapping[str, str]:
    """What its command was launched with; empty when it is not ours, or came back damaged."""
    try:
        environment, _ = unpack(dict(_variables(instance.get("extra_env"))))
    except (KeyError, TypeError, ValueError, zlib.error):
        return {}
    return environment


def created_at(instance: Json) -> datetime | None:
    """When it was rented, UTC; None when Vast.ai does not say."""
    with suppress(ValueError, OverflowError, OSError):
        if since_epoch_s := number(instance.get("start_date")):
            return datetime.fromtimestamp(since_epoch_s, UTC)
    return None


def state(instance: Json, now: datetime) -> tuple[ResourceState, str]:
    """Its state, with what people are told of it.

    Statuses that nobody knows yet are no reason to give up: they have broken clients before (skypilot#9319).
    """
    status = text(instance, "actual_status")
    if why := _why_stopped(instance, now):
        return ResourceState.BROKEN, why
    if status in _DEAD:
        return ResourceState.BROKEN, _with_message(_DEAD[status], instance)
    if status != "running":
        return ResourceState.STARTING, _with_message(_SILENT.get(status, status or "waiting for the host"), instance)
    if not endpoint(instance):
        return ResourceState.STARTING, "running, but its port is not open yet"
    return ResourceState.RUNNING, "running"


def _full_usd_per_hour(instance: Json) -> float:
    """While it runs: what Vast.ai charges, or else what was asked for."""
    return amount(instance.get("dph_total")) or amount(labels_of(instance).get(USD_PER_HOUR)) or 0.0


def is_silent(instance: Json) -> bool:
    """Whether its host is not heard of."""
    return text(instance, "actual_status") in _SILENT


def has_started(instance: Json) -> bool:
    """Whether its container has run, so that it may have printed something."""
    return text(instance, "actual_status") not in ("", "created", "loading")


def endpoint(instance: Json) -> str:
    """Root URL of the port that we asked for; empty until it is open to the world.

    The address has been seen with white space around it. Ports that the image exposes are listed as well.
    """
    address = text(instance, "public_ipaddr").strip()
    host_port = _host_port(part(instance, "ports").get(f"{labels_of(instance).get(PORT)}/tcp"))
    running = text(instance, "actual_status") == "running"
    host = f"[{address}]" if ":" in address else address
    return web_url(f"http://{host}:{host_port}") if running and address and host_port else ""


def _why_stopped(instance: Json, now: datetime) -> str:
    """Why Vast.ai means it to be stopped, which we never ask for; empty while it may run (dstack#4037)."""
    intended, *others = (text(instance, name) or "running" for name in ("intended_status", "cur_state", "next_state"))
    age_s, left_s = _age_s(instance, now), number(instance.get("duration"))
    if intended != "stopped" or ("running" in others and age_s < FLIP_S):
        return ""
    if instance.get("is_bid") is True:
        return "outbid: another renter pays more"
    if left_s is not None and left_s <= 0:
        return "the time for which its host can be rented is over"
    return "stopped by Vast.ai, most often because the account has no credit left"


def _age_s(instance: Json, now: datetime) -> float:
    """By Vast.ai's own clock where its answer tells that: the contract ends `duration` seconds from then."""
    end, left_s, start = (number(instance.get(name)) for name in ("end_date", "duration", "start_date"))
    if end and left_s is not None and start:
        return end - left_s - start
    return (now - (created_at(instance) or now)).total_seconds()


def _with_message(what: str, instance: Json) -> str:
    lines = text(instance, "status_msg").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{what}: {masked(said)[:_DETAIL_CHARACTERS]}" if said else what


def _host_port(bindings: object) -> int:
    """The host's port over IPv4, in `[{"HostIp": "0.0.0.0", "HostPort": "37708"}, …]`; 0 where there is none."""
    for binding in bindings if isinstance(bindings, list) else ():
        if isinstance(binding, Mapping) and ":" not in text(binding, "HostIp"):
            port = number(binding.get("HostPort"))
            if port and 0 < port < 65536:
                return int(port)
    return 0


def _variables(extra_env: object) -> Iterator[tuple[str, str]]:
    """Recorded answers have pairs; the OpenAPI document has texts; what was sent was an object."""
    items: Sequence[object] = list(extra_env.items()) if isinstance(extra_env, Mapping) else ()
    for item in extra_env if isinstance(extra_env, list) else items:
        pair = item.split("=", 1) if isinstance(item, str) else item
        if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
            yield pair[0], str(pair[1])
