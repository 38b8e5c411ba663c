"""The `vast` section of a recipe."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_providers.section import Section

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
    section, default = Section("vast", options), Options()
    section.check_known(_KNOWN)
    return Options(
        reliability=section.number("reliability", default.reliability, least=0, most=1),
        verified=section.flag("verified", default.verified),
        datacenter=section.flag("datacenter", default.datacenter),
        regions=section.codes("regions", _COUNTRY, hint="give a list of two-letter country codes, such as [SE, US]"),
        min_duration_s=section.number("min_duration", default.min_duration_s, least=0),
        min_inet_down_mbps=section.number("min_inet_down_mbps", default.min_inet_down_mbps, least=0),
        min_direct_ports=section.whole("min_direct_ports", default.min_direct_ports, least=1),
        disk_gb=section.whole("disk_gb", 0, least=_SMALLEST_DISK_GB) if "disk_gb" in options else None,
        bid_margin=section.number("bid_margin", default.bid_margin, least=1),
        bid_usd_per_hour=_most_to_bid(section),
    )


def disk_gb(options: Options, disk_gib: int) -> int:
    """The container's disk as Vast.ai counts it, for a need in GiB."""
    return options.disk_gb or max(_SMALLEST_DISK_GB, math.ceil(disk_gib * 2**30 / 10**9))


def _most_to_bid(section: Section) -> float | None:
    if section.said.get("bid_usd_per_hour") is None:
        return None
    return section.number("bid_usd_per_hour", 0, least=_SMALLEST_BID_USD, most=_LARGEST_BID_USD)
