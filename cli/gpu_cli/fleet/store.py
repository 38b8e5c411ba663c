"""The journal of what we launched: SQLite in the user's state folder. The clouds are the truth, this is a memory."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import LIVE, NEXT_STATES, Deployment, State
from gpu_cli.fleet.money import metering
from gpu_cli.fleet.money.ledger import Segment
from gpu_cli.planner.offers.cloud_terms import billing_step_s
from gpu_cli.state_files import unwritable
from gpu_providers.base import Kind, Link

SCHEMA_VERSION = 5

_LIVE_STATES = ", ".join(f"'{state}'" for state in sorted(LIVE))
_BAD_HOSTS = """
CREATE TABLE bad_hosts (
    provider TEXT NOT NULL, host TEXT NOT NULL, until REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (provider, host)
) STRICT
"""
_LEDGER = """
CREATE TABLE ledger (
    resource_name TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL, usd_per_hour REAL NOT NULL,
    PRIMARY KEY (resource_name, since)
) STRICT
"""
_BUDGET_GROUPS = "CREATE TABLE budget_groups (name TEXT PRIMARY KEY, budget_usd REAL NOT NULL) STRICT"
_EXPECTED_STARTS = """
CREATE TABLE expected_starts (
    resource_name TEXT PRIMARY KEY, boot_s REAL NOT NULL, load_s REAL NOT NULL, odds REAL NOT NULL,
    interruptible INTEGER NOT NULL
) STRICT
"""
_SERVINGS = """
CREATE TABLE servings (
    resource_name TEXT PRIMARY KEY, model TEXT NOT NULL, quantization TEXT NOT NULL, engine_version TEXT NOT NULL,
    engine_args TEXT NOT NULL
) STRICT
"""
_BENCHMARKS = """
CREATE TABLE benchmarks (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, generator TEXT NOT NULL, name TEXT NOT NULL, resource_name TEXT NOT NULL,
    recipe TEXT NOT NULL, recipe_digest TEXT NOT NULL, model TEXT NOT NULL, quantization TEXT NOT NULL,
    provider TEXT NOT NULL, region TEXT NOT NULL, gpu TEXT NOT NULL, gpu_count INTEGER NOT NULL,
    engine_version TEXT NOT NULL, engine_args TEXT NOT NULL, price_usd_per_hour REAL NOT NULL, input_tokens INTEGER,
    output_tokens INTEGER, dataset TEXT NOT NULL, streaming INTEGER NOT NULL, duration_s REAL NOT NULL,
    levels TEXT NOT NULL
) STRICT
"""
_SCHEMA = f"""
CREATE TABLE deployments (
    resource_name TEXT PRIMARY KEY, name TEXT NOT NULL, recipe TEXT NOT NULL, recipe_digest TEXT NOT NULL,
    state TEXT NOT NULL, provider TEXT NOT NULL, kind TEXT NOT NULL, gpu TEXT NOT NULL, gpu_count INTEGER NOT NULL,
    region TEXT NOT NULL, model TEXT NOT NULL, price_usd_per_hour REAL NOT NULL, idle_s REAL NOT NULL,
    deadline_at REAL NOT NULL, start_deadline_at REAL NOT NULL, budget_usd REAL, created_at REAL NOT NULL,
    resource_id TEXT NOT NULL, endpoint TEXT NOT NULL, launched_at REAL, ready_at REAL, ended_at REAL,
    active_at REAL, work_done REAL NOT NULL, tied INTEGER NOT NULL, own_stop_armed INTEGER NOT NULL,
    account TEXT NOT NULL, most_workers INTEGER NOT NULL, metered_usd REAL, metered_at REAL, link TEXT NOT NULL,
    local_port INTEGER, host TEXT NOT NULL, reason TEXT NOT NULL, rate_usd_per_hour REAL,
    budget_group TEXT NOT NULL, failure TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_live_per_name ON deployments (name) WHERE state IN ({_LIVE_STATES});
CREATE INDEX by_state ON deployments (state);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, resource_name TEXT NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
) STRICT;
{_BAD_HOSTS};
{_LEDGER};
{_BUDGET_GROUPS};
{_EXPECTED_STARTS};
{_SERVINGS};
{_BENCHMARKS};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_MIGRATIONS = {
    1: (
        "ALTER TABLE deployments RENAME COLUMN supervisor_armed TO own_stop_armed",
        "ALTER TABLE deployments ADD COLUMN account TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE deployments ADD COLUMN most_workers INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE deployments ADD COLUMN metered_usd REAL",
        "ALTER TABLE deployments ADD COLUMN metered_at REAL",
    ),
    2: (
        "ALTER TABLE deployments ADD COLUMN link TEXT NOT NULL DEFAULT 'direct'",
        "ALTER TABLE deployments ADD COLUMN local_port INTEGER",
        "ALTER TABLE deployments ADD COLUMN host TEXT NOT NULL DEFAULT ''",
        _BAD_HOSTS,
    ),
    3: (
        "ALTER TABLE deployments ADD COLUMN rate_usd_per_hour REAL",
        "ALTER TABLE deployments ADD COLUMN budget_group TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE deployments ADD COLUMN failure TEXT NOT NULL DEFAULT ''",
        _LEDGER,
        _BUDGET_GROUPS,
        _EXPECTED_STARTS,
        # What has ended was metered only where it scaled to zero; of what that cost only the sum is known.
        "UPDATE deployments SET metered_at = ended_at,"
        " metered_usd = MAX(0, ended_at - launched_at) / 3600 * price_usd_per_hour"
        " WHERE metered_usd IS NULL AND launched_at IS NOT NULL AND ended_at IS NOT NULL",
        "INSERT INTO ledger SELECT resource_name, launched_at, metered_at,"
        " metered_usd / (metered_at - launched_at) * 3600 FROM deployments"
        " WHERE metered_usd > 0 AND metered_at > launched_at",
    ),
    4: (_SERVINGS, _BENCHMARKS),
}
"""By the version that a file has: what makes it the next one."""


class NameTaken(Exception):
    """Another live deployment has this name."""


class StateMoved(Exception):
    """The deployment is no longer where the caller thought: someone else moved it on."""

    def __init__(self, actual: Deployment) -> None:
        super().__init__(f"{actual.name} is {actual.state}")
        self.actual = actual


class StoreCorrupt(Exception):
    """The file is no readable database."""


@dataclass(frozen=True)
class Event:
    """One transition: when, to what, and why."""

    at: float
    state: State
    note: str


class Store:
    """One connection. Every change of a deployment is one transaction, with its line in the journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> "Store":
        """Raises StoreCorrupt, or UserError for a file of a newer program or a folder that cannot be written."""
        with _clear_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_private(self.path)
            self._connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._prepare_schema()
        return self

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, deployment: Deployment) -> None:
        """Put a new deployment on record. Raises NameTaken."""
        columns = ", ".join(_COLUMNS)
        marks = ", ".join("?" for _ in _COLUMNS)
        with self.transaction() as connection:
            try:
                connection.execute(
                    f"INSERT INTO deployments ({columns}) VALUES ({marks})",  # noqa: S608 - our own column names
                    _values(deployment),
                )
            except sqlite3.IntegrityError as error:
                raise NameTaken(deployment.name) from error
            _record(connection, deployment, deployment.created_at, deployment.reason)

    def move(self, deployment: Deployment, to: State, *, at: float, note: str = "", **changes: Any) -> Deployment:
        """One step of its life: state, changes and journal together.

        Raises StateMoved when it is not in `deployment.state` any more, and ValueError for a step that makes no sense.
        """
        if to not in NEXT_STATES[deployment.state]:
            raise ValueError(f"no way from {deployment.state} to {to}")
        with self.transaction() as connection:
            actual = self.get(deployment.resource_name)
            if actual.state is not deployment.state:
                raise StateMoved(actual)
            moved = replace(actual, state=to, **changes)
            if not moved.is_live:
                moved = _closed(connection, replace(moved, ended_at=moved.ended_at or at))
            _overwrite(connection, moved)
            _record(connection, moved, at, note)
        return moved

    def update(self, resource_name: str, **changes: Any) -> Deployment:
        """Change what is known of it, not its state."""
        with self.transaction() as connection:
            changed = replace(self.get(resource_name), **changes)
            _overwrite(connection, changed)
        return changed

    def rename(self, deployment: Deployment, name: str, **changes: Any) -> Deployment:
        """Call it `name` from now on, and change what else is known of it, if it is still in `deployment.state`.

        Raises StateMoved when it is not, and NameTaken.
        """
        with self.transaction() as connection:
            actual = self.get(deployment.resource_name)
            if actual.state is not deployment.state:
                raise StateMoved(actual)
            renamed = replace(actual, name=name, **changes)
            try:
                _overwrite(connection, renamed)
            except sqlite3.IntegrityError as error:
                raise NameTaken(name) from error
        return renamed

    def meter(self, resource_name: str, usd_per_hour: float, *, at: float) -> Deployment:
        """Write down what a look said that it bills, and what it has cost since the last one."""
        actual = self.get(resource_name)
        if metering.says_nothing_new(actual, usd_per_hour, at):
            return actual
        with self.transaction() as connection:
            actual = self.get(resource_name)
            if metering.says_nothing_new(actual, usd_per_hour, at):  # it has ended, or someone else has looked
                return actual
            metered, passed = metering.looked_at(actual, usd_per_hour, at)
            _enter(connection, resource_name, passed)
            _overwrite(connection, metered)
        return metered

    def avoid_host(self, provider: str, host: str, *, until: float, reason: str) -> None:
        """Remember that this machine did not come up, and why."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO bad_hosts VALUES (?, ?, ?, ?)", (provider, host, until, reason))

    def bad_hosts(self, now: float) -> Mapping[tuple[str, str], str]:
        """The machines to be avoided now: why, by provider and host."""
        with _clear_errors(self.path):
            rows = self._open_connection().execute("SELECT * FROM bad_hosts WHERE until > ?", (now,)).fetchall()
            return {(row["provider"], row["host"]): row["reason"] for row in rows}

    def get(self, resource_name: str) -> Deployment:
        """The deployment of this resource; KeyError when there is none."""
        rows = self._select("WHERE resource_name = ?", resource_name)
        if not rows:
            raise KeyError(resource_name)
        return rows[0]

    def live(self) -> Sequence[Deployment]:
        """All that may hold something, oldest first."""
        return self._select(f"WHERE state IN ({_LIVE_STATES}) ORDER BY created_at")

    def find_live(self, name: str) -> Deployment | None:
        """The living one of this name (or resource name)."""
        rows = self._select(f"WHERE state IN ({_LIVE_STATES}) AND ? IN (name, resource_name)", name)
        return rows[0] if rows else None

    def ended(self, *, since: float = 0.0) -> Sequence[Deployment]:
        """Those that ended after `since`, the last one first."""
        return self._select(f"WHERE state NOT IN ({_LIVE_STATES}) AND ended_at >= ? ORDER BY ended_at DESC", since)

    def last_named(self, name: str) -> Deployment | None:
        """The newest of this name (or resource name), alive or not."""
        rows = self._select("WHERE ? IN (name, resource_name) ORDER BY created_at DESC LIMIT 1", name)
        return rows[0] if rows else None

    def events(self, resource_name: str) -> Sequence[Event]:
        """Its journal, oldest first."""
        with _clear_errors(self.path):
            rows = self._open_connection().execute(
                "SELECT at, state, note FROM events WHERE resource_name = ? ORDER BY id", (resource_name,)
            )
            return [Event(row["at"], State(row["state"]), row["note"]) for row in rows]

    def version(self) -> tuple[int, int]:
        """Another one whenever anything was written, by whomever; much cheaper than to read it all again."""
        return self.rows("PRAGMA data_version")[0][0], self._open_connection().total_changes

    def rows(self, query: str, *values: object) -> Sequence[sqlite3.Row]:
        """For what is kept beside deployments: the ledger, groups, benchmarks. Raises UserError, StoreCorrupt."""
        with _clear_errors(self.path):
            return self._open_connection().execute(query, values).fetchall()

    def _select(self, where: str, *values: object) -> Sequence[Deployment]:
        with _clear_errors(self.path):
            rows = self._open_connection().execute(f"SELECT * FROM deployments {where}", values).fetchall()  # noqa: S608 - our own text
            return [_deployment(row) for row in rows]

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the store is not open")
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and nobody else writes meanwhile. Raises UserError, StoreCorrupt."""
        connection = self._open_connection()
        with _clear_errors(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _prepare_schema(self) -> None:
        connection = self._open_connection()
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise StoreCorrupt(str(self.path))
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UserError(
                Exit.BAD_INPUT,
                "state-newer",
                f"{self.path} was written by a newer gpu (its version is {version}, this one knows {SCHEMA_VERSION})",
                hint="upgrade gpu (pip install -U gpu-up), or set GPU_HOME to use another folder",
            )
        if version < SCHEMA_VERSION:
            self._upgrade_schema()

    def _upgrade_schema(self) -> None:
        """Two processes may find an old file at once: the second sees the new version under its own write lock."""
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            statements = list(filter(str.strip, _SCHEMA.split(";"))) if version == 0 else []
            for old in range(version, SCHEMA_VERSION) if version else ():
                statements += [*_MIGRATIONS[old], f"PRAGMA user_version = {old + 1}"]
            for statement in statements:
                connection.execute(statement)


_COLUMNS = tuple(field.name for field in fields(Deployment))


def _values(deployment: Deployment) -> tuple[object, ...]:
    return tuple(getattr(deployment, column) for column in _COLUMNS)


def _deployment(row: sqlite3.Row) -> Deployment:
    values = dict(zip(row.keys(), row, strict=True))  # to look each of them up takes five times as long
    flags = {name: bool(values[name]) for name in ("tied", "own_stop_armed")}
    words = {"state": State(values["state"]), "kind": Kind(values["kind"]), "link": Link(values["link"])}
    return Deployment(**{**values, **flags, **words})


def _overwrite(connection: sqlite3.Connection, deployment: Deployment) -> None:
    assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
    connection.execute(
        f"UPDATE deployments SET {assignments} WHERE resource_name = ?",  # noqa: S608 - our own column names
        (*_values(deployment), deployment.resource_name),
    )


def _closed(connection: sqlite3.Connection, deployment: Deployment) -> Deployment:
    """With its account closed: nothing that ended costs any more."""
    query = "SELECT TOTAL(until - since) FROM ledger WHERE resource_name = ?"
    billed_s = connection.execute(query, (deployment.resource_name,)).fetchone()[0]
    closed, passed = metering.ended(deployment, billed_s, billing_step_s(deployment.provider, deployment.kind))
    _enter(connection, deployment.resource_name, passed)
    return closed


def _enter(connection: sqlite3.Connection, resource_name: str, passed: Segment) -> None:
    """Into the ledger, as one with the stretch before it where the rate was the same; what cost nothing is left out."""
    if passed.usd <= 0:
        return
    since, until, usd_per_hour = passed.since, passed.until, passed.usd_per_hour
    longer = "UPDATE ledger SET until = ? WHERE resource_name = ? AND until = ? AND usd_per_hour = ?"
    if not connection.execute(longer, (until, resource_name, since, usd_per_hour)).rowcount:
        connection.execute("INSERT INTO ledger VALUES (?, ?, ?, ?)", (resource_name, since, until, usd_per_hour))


def _record(connection: sqlite3.Connection, deployment: Deployment, at: float, note: str) -> None:
    connection.execute(
        "INSERT INTO events (at, resource_name, state, note) VALUES (?, ?, ?, ?)",
        (at, deployment.resource_name, deployment.state, note),
    )


def _make_private(path: Path) -> None:
    """SQLite gives its journal files the mode of the database, so that one must be private from the start.

    One that is there is not touched: the kernel drops the locks that another connection of this process has on it when
    any handle of the file is closed, and then other processes take the journal away from under that connection.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into something that a user can act on."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unwritable(path, str(error)) from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreCorrupt(f"{path}: {error}") from error
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from error
