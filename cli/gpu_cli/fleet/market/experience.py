"""How our starts went: what the journal tells of each, for `gpu history` and for what is expected of the next one."""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Row

from gpu_cli.fleet.end.spot import TAKEN_BACK
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.store import Store
from gpu_cli.planner.offers.expectations import LEARNT_FROM_S, Expectations, Expected, PastStart, learnt
from gpu_cli.planner.rank import Candidate
from gpu_providers.base import Kind

WORKED, LOST = "worked", "lost"
"""What comes of a start that became ready."""

HOSTS_FAULT, UNEXPLAINED = "host-failed", "crashed"
"""The failures (`policy.FAILURES`) that speak against a machine: the other words are about stock, accounts or recipes.
The second only where the recipe has worked before."""

LEAST_LOAD_S = 10.0
"""No engine loads faster. Where it seems so, its first word was not heard before it answered, and only the whole start
was measured."""

_STARTS = """
SELECT d.provider, d.kind, d.gpu, d.gpu_count, d.region, d.host, d.recipe_digest, d.created_at, d.launched_at,
    d.ready_at, d.ended_at, d.reason, d.failure, spoke.at AS spoke_at, expected.boot_s, expected.load_s, expected.odds,
    expected.interruptible
FROM deployments AS d
JOIN expected_starts AS expected USING (resource_name)
LEFT JOIN (SELECT resource_name, MIN(at) AS at FROM events WHERE state = 'loading' GROUP BY resource_name) AS spoke
    USING (resource_name)
WHERE d.created_at >= ? AND (d.ready_at IS NOT NULL OR d.failure != '' OR (d.launched_at AND d.ended_at))
ORDER BY d.created_at
"""


@dataclass(frozen=True)
class Start:
    """One order that was answered, and what came of it."""

    provider: str
    kind: Kind
    gpu: str
    gpu_count: int
    region: str
    host: str
    recipe_digest: str
    at: float
    """When it was ordered."""
    expected: Expected
    """By the terms alone."""
    interruptible: bool
    outcome: str
    """WORKED, LOST, the policy's word for how it failed, or empty: it was ended before it could show."""
    over: bool
    boot_s: float | None = None
    """From the order to the engine's first word."""
    load_s: float | None = None
    """From there until it answered."""
    whole_s: float | None = None

    @property
    def worked(self) -> bool:
        """It became ready."""
        return self.outcome in (WORKED, LOST)

    @property
    def lost(self) -> bool:
        """It became ready, and then its machine broke or was taken back."""
        return self.outcome == LOST


def keep_expected(store: Store, resource_name: str, candidate: Candidate) -> None:
    """Put what is expected of its start beside a deployment on record, which makes it a start of this machine's."""
    expected = candidate.session.by_terms
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO expected_starts VALUES (?, ?, ?, ?, ?)",
            (resource_name, expected.boot_s, expected.load_s, expected.odds, candidate.offer.interruptible),
        )


def starts(store: Store, *, since: float = 0.0) -> Sequence[Start]:
    """All that this machine ordered after `since` and that are not under way, oldest first."""
    return [_start(row) for row in store.rows(_STARTS, since)]


def expectations(fleet: Fleet) -> Expectations:
    """What is to be expected of the next start, now."""
    now = fleet.clock.now()
    found = starts(fleet.store, since=now - LEARNT_FROM_S)
    proven = {start.recipe_digest for start in found if start.worked}
    return learnt((_past(start, proven=start.recipe_digest in proven) for start in found), now)


def _start(row: Row) -> Start:
    at, spoke_at, ready_at = row["launched_at"] or row["created_at"], row["spoke_at"], row["ready_at"]
    heard = spoke_at is not None and (ready_at is None or ready_at - spoke_at >= LEAST_LOAD_S)
    return Start(
        provider=row["provider"],
        kind=Kind(row["kind"]),
        gpu=row["gpu"],
        gpu_count=row["gpu_count"],
        region=row["region"],
        host=row["host"],
        recipe_digest=row["recipe_digest"],
        at=at,
        expected=Expected(row["boot_s"], row["load_s"], row["odds"]),
        interruptible=bool(row["interruptible"]),
        outcome=_outcome(row),
        over=row["ended_at"] is not None,
        boot_s=spoke_at - at if heard else None,
        load_s=ready_at - spoke_at if heard and ready_at else None,
        whole_s=ready_at - at if ready_at else None,
    )


def _outcome(row: Row) -> str:
    if row["ready_at"] is None:
        return str(row["failure"])
    lost = row["reason"].startswith((TAKEN_BACK, f"{row['provider']} says"))
    return LOST if lost else WORKED


def _past(start: Start, *, proven: bool) -> PastStart:
    """What it tells about the next one."""
    expected, boot_s, load_s = start.expected, start.boot_s, start.load_s
    if boot_s is None and start.whole_s is not None:  # both stages were off alike, as far as anybody knows
        ratio = start.whole_s / (expected.boot_s + expected.load_s)
        boot_s, load_s = ratio * expected.boot_s, ratio * expected.load_s
    return PastStart(
        start.provider,
        start.kind,
        start.gpu,
        start.gpu_count,
        start.region,
        start.host,
        start.at,
        expected,
        boot_s,
        load_s,
        came_up=_came_up(start, proven=proven),
        kept=not start.lost if start.interruptible and start.worked and start.over else None,
    )


def _came_up(start: Start, *, proven: bool) -> bool | None:
    """None where the machine is not to blame, or nobody knows."""
    if start.worked:
        return not start.lost or start.interruptible
    return False if start.outcome == HOSTS_FAULT or (start.outcome == UNEXPLAINED and proven) else None
