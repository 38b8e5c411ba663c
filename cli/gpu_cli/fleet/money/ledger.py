"""The ledger: what was spent on what, by our own account of price x time.

What is in it is written by the store, with what it says of a deployment; what a deployment that lives has cost since
its last look is added here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `gpu --help` opens no store
    from sqlite3 import Row

    from gpu_cli.fleet.store import Store

_DAY_S = 86_400.0


class By(StrEnum):
    """By what costs are added up."""

    RECIPE = "recipe"
    PROVIDER = "provider"
    DAY = "day"
    """In UTC."""
    DEPLOYMENT = "deployment"
    """By name: there may have been several of one name, one after the other."""
    GROUP = "group"


@dataclass(frozen=True)
class Segment:
    """A stretch of time at one rate."""

    since: float
    until: float
    usd_per_hour: float

    @property
    def usd(self) -> float:
        """What it cost."""
        return (self.until - self.since) / 3600 * self.usd_per_hour


@dataclass(frozen=True)
class Entry:
    """A stretch of what one deployment has cost; the names are those of `By`."""

    resource_name: str
    recipe: str
    provider: str
    deployment: str
    group: str
    segment: Segment

    def key(self, by: By) -> str:
        """To what it is added. A stretch belongs to the day on which it begins."""
        if by is By.DAY:
            return datetime.fromtimestamp(self.segment.since, UTC).date().isoformat()
        return str(getattr(self, by))


@dataclass(frozen=True)
class Cost:
    """What one row of a report has come to."""

    key: str
    usd: float
    hours: float
    """That were billed, of all its deployments together."""
    deployments: int


def costs(entries: Iterable[Entry], by: By) -> Sequence[Cost]:
    """Added up, the dearest first; days in their order. What belongs to no group has an empty key."""
    added = defaultdict[str, list[Entry]](list)
    for entry in _split_at_midnights(entries) if by is By.DAY else entries:
        added[entry.key(by)].append(entry)
    rows = [_cost(key, members) for key, members in added.items()]
    return sorted(rows, key=lambda row: (0.0 if by is By.DAY else -row.usd, row.key))


def entries_since(store: "Store", since: float, now: float) -> Sequence[Entry]:
    """All that has cost something from then on until now."""
    columns = "resource_name, recipe, provider, name, budget_group"
    query = f"SELECT {columns}, since, until, usd_per_hour FROM ledger JOIN deployments USING (resource_name)"  # noqa: S608
    rows = store.rows(f"{query} WHERE until > ? ORDER BY since", since)
    return [*(_entry(row, since) for row in rows), *_not_written_yet(store, since, now)]


def _entry(row: "Row", since: float) -> Entry:
    resource_name, recipe, provider, name, group, began_at, until, usd_per_hour = row
    segment = Segment(max(since, began_at), until, usd_per_hour)
    return Entry(resource_name, recipe, provider, name, group, segment)


def _not_written_yet(store: "Store", since: float, now: float) -> Iterator[Entry]:
    """What lives has cost since it was last looked at."""
    for one in store.live():
        segment = Segment(max(since, one.metered_until(now)), now, one.current_usd_per_hour)
        if segment.until > segment.since and segment.usd > 0:
            yield Entry(one.resource_name, one.recipe, one.provider, one.name, one.budget_group, segment)


def _split_at_midnights(entries: Iterable[Entry]) -> Iterator[Entry]:
    """In UTC."""
    for entry in entries:
        at, until = entry.segment.since, entry.segment.until
        while at < until:
            midnight = min(until, (at // _DAY_S + 1) * _DAY_S)
            yield replace(entry, segment=replace(entry.segment, since=at, until=midnight))
            at = midnight


def _cost(key: str, entries: Sequence[Entry]) -> Cost:
    segments = [entry.segment for entry in entries]
    hours = sum(segment.until - segment.since for segment in segments) / 3600
    names = {entry.resource_name for entry in entries}
    return Cost(key, sum(segment.usd for segment in segments), hours, len(names))
