"""The columns of the table, and which of them a narrow terminal goes without."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpu_cli.fleet.gauges.readings import Gauges
from gpu_cli.top.sight import Seen, Sight
from gpu_cli.units import format_duration, format_usd

UNKNOWN = "-"
NOTHING_ENDS_IT = "NOTHING WILL END IT"
GAP = 2
"""Characters around each column: half of them on either side."""
SHORTEST_NAME = 12
"""Characters to which a name is cut at the most."""


@dataclass(frozen=True)
class Column:
    """One figure of every deployment."""

    title: str
    cell: Callable[[Seen, float], str]
    """Of one of them, at that time."""
    goes: int = 0
    """The highest goes first where there is no room for all; those with 0 stay."""
    is_number: bool = True


def columns_for(sight: Sight, width: int) -> Mapping[Column, int]:
    """As many as there is room for, whole, with the characters of each. Only names are cut, so that a long one does not
    take the place of all the figures.
    """
    shown = {column: _width(column, sight) for column in COLUMNS}
    if _taken(shown) > width:
        shown[NAME] = min(shown[NAME], max(SHORTEST_NAME, width // 3))
    while _taken(shown) > width and any(column.goes for column in shown):
        del shown[max(shown, key=lambda column: column.goes)]
    return shown


def cells(columns: Sequence[Column], sight: Sight) -> Sequence[tuple[str, ...]]:
    """A row for each deployment."""
    return [tuple(column.cell(one, sight.at) for column in columns) for one in sight.seen]


def brief(seconds: float) -> str:
    """As exact as somebody wants to know it: `45s`, `12m`, `3h10m`, `2d4h`."""
    unit = next((unit for limit, unit in ((120, 1), (86_400, 60)) if seconds < limit), 3600)
    return format_duration(seconds // unit * unit)


def where(one: Seen) -> str:
    """On what, at whom."""
    place = f"{one.deployment.provider} {one.deployment.gpu}"
    return place if one.deployment.gpu_count < 2 else f"{place} x{one.deployment.gpu_count}"


def gpu_memory(gauges: Gauges) -> str:
    """Used and there, of all its cards."""
    used, total = gauges.gpu_memory_used_gib, gauges.gpu_memory_total_gib
    return UNKNOWN if used is None or total is None else f"{used:.0f}/{total:.0f} GiB"


def number(value: float | None) -> str:
    """A digit behind the point for what is small."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def share(value: float | None) -> str:
    """In per cent."""
    return UNKNOWN if value is None else f"{value:.0%}"


def _width(column: Column, sight: Sight) -> int:
    return max(len(column.title), *(len(column.cell(one, sight.at)) for one in sight.seen), 0)


def _taken(widths: Mapping[Column, int]) -> int:
    return sum(width + GAP for width in widths.values())


def _state(one: Seen, _now: float) -> str:
    return f"{one.deployment.state} !" if one.gauges.problem else str(one.deployment.state)


def _ends(one: Seen, now: float) -> str:
    if not any(stop.armed for stop in one.stops):
        return NOTHING_ENDS_IT
    first = one.next_end(now)
    return f"{first[0]} in {brief(first[1])}" if first else UNKNOWN


NAME = Column("NAME", lambda one, _: one.deployment.name, is_number=False)
COLUMNS = (
    NAME,
    Column("STATE", _state, is_number=False),
    Column("WHERE", lambda one, _: where(one), goes=7, is_number=False),
    Column("RUN", lambda one, _: number(one.gauges.running), goes=2),
    Column("WAIT", lambda one, _: number(one.gauges.waiting), goes=3),
    Column("IN/S", lambda one, _: number(one.gauges.input_tokens_per_s), goes=6),
    Column("OUT/S", lambda one, _: number(one.gauges.output_tokens_per_s), goes=1),
    Column("KV", lambda one, _: share(one.gauges.kv_cache_used), goes=5),
    Column("PREFIX", lambda one, _: share(one.gauges.prefix_cache_hits), goes=8),
    Column("PREEMPTED", lambda one, _: number(one.gauges.preemptions), goes=10),
    Column("GPU MEMORY", lambda one, _: gpu_memory(one.gauges), goes=9),
    Column("SPENT", lambda one, now: format_usd(one.deployment.spent_usd(now)), goes=4),
    Column("ENDS", _ends, is_number=False),
)
