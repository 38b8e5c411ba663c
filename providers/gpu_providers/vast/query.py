"""What Vast.ai is asked for, and the same bounds held against what it answers.

Its filters have been dropped and ignored without a word (skypilot#9892, vast-sdk#11), so nothing counts that is not
seen to be within them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpu_providers.base import Search
from gpu_providers.values import Json, number
from gpu_providers.vast.names import MIB_PER_GIB
from gpu_providers.vast.options import Options, disk_gb

COUNTS = (1, 2, 4, 8)
"""As tensor parallelism wants them."""
PAGE_ROWS = 64
"""What one answer holds at the most, whatever the limit (gpuhunt#142, and since)."""

_SPARE_TIME = 1.1
"""A contract that ends with the deadline leaves no time to end in order."""
_LEAST_COMPUTE_CAP = 700
"""Of the oldest card in our catalogue. A bound on CUDA without one on this has hidden H100s (gpuhunt#142)."""

Filters = Mapping[str, Mapping[str, Any]]
"""Bounds by column: `{"reliability": {"gte": 0.97}}`."""


def filters(gpu_names: Sequence[str], search: Search, options: Options) -> Filters:
    """What an ask has to be, but for its price. The search's own defaults are none: all has to be said."""
    always: Filters = {
        "gpu_name": {"in": list(gpu_names)},
        "num_gpus": {"in": list(COUNTS)},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "external": {"eq": False},
        "cpu_arch": {"eq": "amd64"},
        "gpu_arch": {"eq": "nvidia"},
        "compute_cap": {"gte": _LEAST_COMPUTE_CAP},
        "reliability": {"gte": options.reliability},
        "inet_down": {"gte": options.min_inet_down_mbps},
        "direct_port_count": {"gte": options.min_direct_ports},
        "disk_space": {"gte": disk_gb(options, search.disk_gib)},
        "duration": {"gte": duration_s(search, options)},
    }
    sometimes: Filters = {
        "verified": {"eq": True} if options.verified else {},
        "datacenter": {"eq": True} if options.datacenter else {},
        "geolocation": {"in": list(options.regions)} if options.regions else {},
        "cuda_max_good": {"gte": float(search.min_cuda_version)} if search.min_cuda_version else {},
        "gpu_total_ram": {"gte": search.min_gpu_memory_gib * MIB_PER_GIB} if search.min_gpu_memory_gib else {},
    }
    return {**always, **{column: bounds for column, bounds in sometimes.items() if bounds}}


def duration_s(search: Search, options: Options) -> float:
    """How long an ask has to last."""
    return max(search.ttl_s * _SPARE_TIME, options.min_duration_s)


def query(bounds: Filters, search: Search, options: Options, *, spot: bool) -> dict[str, Any]:
    """The cheapest first, at the price of the disk that will be asked for."""
    limit = search.max_price_usd_per_hour
    return {
        **bounds,
        **({} if limit is None else {"dph_total": {"lte": limit}}),
        "type": "bid" if spot else "on-demand",
        "allocated_storage": disk_gb(options, search.disk_gib),
        "order": [["dph_total", "asc"]],
        "limit": PAGE_ROWS,
    }


def within(row: Json, bounds: Filters) -> bool:
    """Whether an answer's row is what was asked for. What it does not tell at all is left to the search's own word."""
    return all(_fits(row, column, wanted) for column, wanted in bounds.items())


def _fits(row: Json, column: str, wanted: Mapping[str, Any]) -> bool:
    name, read = _COLUMNS.get(column, (column, _as_it_is))
    return name not in row or all(_HOLDS[operator](read(row[name]), bound) for operator, bound in wanted.items())


def _as_it_is(value: Any) -> object:
    return value


def _country(geolocation: object) -> str:
    """Of `California, US` and of `, US`; empty where it is not told."""
    return geolocation.rpartition(",")[2].strip().upper() if isinstance(geolocation, str) else ""


def _is_at_least(value: object, bound: float) -> bool:
    told = number(value)
    return told is not None and told >= bound


_COLUMNS: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "verified": ("verification", lambda value: value == "verified"),
    "datacenter": ("hosting_type", lambda value: number(value) == 1),
    "geolocation": ("geolocation", _country),
    "num_gpus": ("num_gpus", number),
    "machine_id": ("machine_id", number),
    "rented": ("rented", bool),  # null for no
    "external": ("external", bool),
}
"""Where a row tells a column that is asked for under another name, or in another form."""

_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, bound: bool(value == bound),
    "in": lambda value, bound: value in bound,
    "gte": _is_at_least,
}
