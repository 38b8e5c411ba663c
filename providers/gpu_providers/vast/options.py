"""The `vast` section of a recipe."""

import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_providers.errors import InvalidRequest

_KNOWN = (
    *("reliability", "verified", "datacenter", "regions", "min_duration", "min_inet_down_mbps", "min_direct_ports"),
    *("disk_gb", "bid_margin", "bid_usd_per_hour"),
)
_COUNTRY = re.compile(r"[A-Z]{2}")
_SMALLEST_DISK_GB = 8
"""Less is refused (docs.vast.ai, api-reference, create instance)."""
_SMALLEST_BID_USD, _LARGEST_BID_USD = 0.001, 128.0
"""Of a whole offer and hour (docs.vast.ai, api-reference, create instance)."""


@dataclass(frozen=True)
class Options:
    """What a recipe may say about Vast.ai; the defaults are what it gets that says nothing."""

    reliability: float = 0.97
    """The least uptime score, 0 to 1: below this hosts have been seen to die while they boot."""
    verified: bool = True
    """Only hosts that Vast.ai has verified."""
    datacenter: bool = False
    """Only certified data centers."""
    regions: tuple[str, ...] = ()
    """Countries by their two letters; empty for anywhere."""
    min_duration_s: float = 0.0
    """How long an offer has to last at the least, beyond what the launch asks for."""
    min_inet_down_mbps: float = 500.0
    """10^6 bits per second: the weights come over this line while the GPU bills."""
    min_direct_ports: int = 1
    """Without any, nothing in there can be reached."""
    disk_gb: int | None = None
    """The container's disk, instead of what the launch asks for."""
    bid_margin: float = 1.1
    """How much above the lowest bid that would win we bid, as a factor."""
    bid_usd_per_hour: float | None = None
    """No bid for an offer's compute is higher."""


def parse_options(options: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense."""
    for key in options:
        if key not in _KNOWN:
            near = difflib.get_close_matches(key, _KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(_KNOWN)}"
            raise InvalidRequest(f"provider vast has no option {key!r}", hint=hint)
    default = Options()
    return Options(
        reliability=_number(options, "reliability", default.reliability, least=0, most=1),
        verified=_flag(options, "verified", default.verified),
        datacenter=_flag(options, "datacenter", default.datacenter),
        regions=_regions(options),
        min_duration_s=_number(options, "min_duration", default.min_duration_s, least=0),
        min_inet_down_mbps=_number(options, "min_inet_down_mbps", default.min_inet_down_mbps, least=0),
        min_direct_ports=_whole(options, "min_direct_ports", default.min_direct_ports, least=1),
        disk_gb=_whole(options, "disk_gb", 0, least=_SMALLEST_DISK_GB) if "disk_gb" in options else None,
        bid_margin=_number(options, "bid_margin", default.bid_margin, least=1),
        bid_usd_per_hour=_most_to_bid(options),
    )


def disk_gb(options: Options, disk_gib: int) -> int:
    """The container's disk as Vast.ai counts it, for a need in GiB."""
    return options.disk_gb or max(_SMALLEST_DISK_GB, math.ceil(disk_gib * 2**30 / 10**9))


def _regions(options: Mapping[str, object]) -> tuple[str, ...]:
    value = options.get("regions", [])
    hint = "give a list of two-letter country codes, such as [SE, US]"
    if not isinstance(value, list | tuple):
        raise _refused("regions", value, hint)
    regions = tuple(region.upper() if isinstance(region, str) else "" for region in value)
    if not all(_COUNTRY.fullmatch(region) for region in regions):
        raise _refused("regions", value, hint)
    return regions


def _most_to_bid(options: Mapping[str, object]) -> float | None:
    if options.get("bid_usd_per_hour") is None:
        return None
    return _number(options, "bid_usd_per_hour", 0, least=_SMALLEST_BID_USD, most=_LARGEST_BID_USD)


def _number(
    options: Mapping[str, object], name: str, default: float, *, least: float, most: float = sys.float_info.max
) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        bounds = f"from {least:g} to {most:g}" if most < sys.float_info.max else f"{least:g} or more"
        raise _refused(name, value, f"give a number, {bounds}")
    return float(value)


def _whole(options: Mapping[str, object], name: str, default: int, *, least: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _refused(name, value, f"give a whole number, {least} or more")
    return value


def _flag(options: Mapping[str, object], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise _refused(name, value, "give true or false")
    return value


def _refused(name: str, value: object, hint: str) -> InvalidRequest:
    return InvalidRequest(f"provider vast: {name} is {value!r}", hint=hint)
