import contextlib
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, deployment
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import LIVE, NEXT_STATES, State
from gpu_cli.fleet.store import SCHEMA_VERSION, NameTaken, StateMoved, Store, StoreCorrupt
from gpu_providers.base import Kind


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state" / "gpu.db").open()
    yield store
    store.close()


def test_what_was_written_is_read_back_by_another_process(store: Store) -> None:
    store.add(deployment(budget_usd=1.5))
    other = Store(store.path).open()
    assert other.live() == [deployment(budget_usd=1.5)]
    other.close()


def test_the_file_and_its_journals_are_private(store: Store) -> None:
    store.add(deployment())
    for path in store.path.parent.glob("gpu.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_name_can_be_used_again_only_when_its_deployment_has_ended(store: Store) -> None:
    first = deployment()
    store.add(first)
    second = replace(first, resource_name="gpu-tiny-2", created_at=NOW + 1)
    with pytest.raises(NameTaken):
        store.add(second)
    store.move(first, State.GONE, at=NOW, ended_at=NOW)
    store.add(second)
    assert store.find_live("tiny") == second
    assert store.last_named("tiny") == second
    assert [one.resource_name for one in store.ended()] == ["gpu-tiny-1"]


def test_a_step_from_where_it_no_longer_is_tells_where_it_is_and_changes_nothing(store: Store) -> None:
    stale = deployment(state=State.LOADING)
    store.add(stale)
    store.move(stale, State.TERMINATING, at=NOW, reason="gpu down")
    with pytest.raises(StateMoved) as moved:
        store.move(stale, State.READY, at=NOW, reason="too late")
    assert moved.value.actual.state is State.TERMINATING
    assert store.get(stale.resource_name).reason == "gpu down"


@pytest.mark.parametrize("state", State)
def test_only_steps_that_make_sense_are_taken(store: Store, state: State) -> None:
    store.add(deployment(state=state))
    for to in set(State) - NEXT_STATES[state]:
        with pytest.raises(ValueError, match="no way from"):
            store.move(deployment(state=state), to, at=NOW)
    assert store.get("gpu-tiny-1").state is state


def test_every_step_is_in_the_journal_with_its_reason(store: Store) -> None:
    first = deployment(state=State.PLANNED)
    store.add(first)
    launching = store.move(first, State.LAUNCHING, at=NOW + 1)
    store.move(launching, State.FAILED, at=NOW + 2, note="sold out")
    events = [(event.at, event.state, event.note) for event in store.events(first.resource_name)]
    assert events == [
        (NOW, State.PLANNED, ""),
        (NOW + 1, State.LAUNCHING, ""),
        (NOW + 2, State.FAILED, "sold out"),
    ]


def test_an_update_leaves_the_state_alone(store: Store) -> None:
    store.add(deployment())
    store.update("gpu-tiny-1", active_at=NOW + 5)
    assert store.get("gpu-tiny-1") == deployment(active_at=NOW + 5)


def test_it_is_found_by_its_resource_name_too(store: Store) -> None:
    store.add(deployment())
    assert store.find_live("gpu-tiny-1") == deployment()
    assert store.find_live("other") is None
    with pytest.raises(KeyError):
        store.get("gpu-other-1")


FIRST_SCHEMA = """
CREATE TABLE deployments (
    resource_name TEXT PRIMARY KEY, name TEXT NOT NULL, recipe TEXT NOT NULL, recipe_digest TEXT NOT NULL,
    state TEXT NOT NULL, provider TEXT NOT NULL, kind TEXT NOT NULL, gpu TEXT NOT NULL, gpu_count INTEGER NOT NULL,
    region TEXT NOT NULL, model TEXT NOT NULL, price_usd_per_hour REAL NOT NULL, idle_s REAL NOT NULL,
    deadline_at REAL NOT NULL, start_deadline_at REAL NOT NULL, budget_usd REAL, created_at REAL NOT NULL,
    resource_id TEXT NOT NULL, endpoint TEXT NOT NULL, launched_at REAL, ready_at REAL, ended_at REAL,
    active_at REAL, work_done REAL NOT NULL, tied INTEGER NOT NULL, supervisor_armed INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_live_per_name ON deployments (name) WHERE state NOT IN ('gone', 'failed');
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, resource_name TEXT NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
INSERT INTO deployments VALUES ('gpu-old-1', 'old', 'old', 'd', 'ready', 'cloud', 'pod', 'H100', 1, 'eu', 'm', 2.0,
    600.0, 9e9, 9e9, NULL, 1e9, 'id', 'http://cloud', 1e9, 1e9, NULL, 1e9, 3.0, 0, 1, '');
"""
"""As the first release made it."""


def test_a_file_of_an_older_program_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "gpu.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_SCHEMA)
    for _ in range(2):
        store = Store(path).open()
        (old,) = store.live()
        assert (old.name, old.own_stop_armed, old.metered_usd) == ("old", True, None)
        store.close()


def test_what_older_programs_have_spent_gets_into_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "gpu.db"
    ended = "UPDATE deployments SET state = 'gone', ended_at = 1e9 + 1800"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{FIRST_SCHEMA};{ended}")
    with contextlib.closing(Store(path).open()) as store:
        (old,) = store.ended()
        assert old.spent_usd(9e9) == pytest.approx(1.0)
        (row,) = store.rows("SELECT * FROM ledger")
        assert tuple(row) == ("gpu-old-1", 1e9, 1e9 + 1800, pytest.approx(2.0))


def test_what_scales_to_zero_is_metered_at_the_rate_of_the_moment(store: Store) -> None:
    store.add(deployment(kind=Kind.SERVERLESS))
    store.meter("gpu-tiny-1", 0.0, at=NOW + 1800)
    store.meter("gpu-tiny-1", 4.0, at=NOW + 3600)
    metered = store.meter("gpu-tiny-1", 4.0, at=NOW + 3600)
    assert metered.spent_usd(NOW + 9999) == pytest.approx(2.0)


def test_a_file_of_a_newer_program_is_refused_and_left_as_it_is(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UserError) as refused:
        Store(store.path).open()
    assert (refused.value.exit_status, refused.value.code) == (Exit.BAD_INPUT, "state-newer")


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gpu.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        Store(path).open()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(UserError) as refused:
        Store(tmp_path / "state" / "gpu.db").open()
    assert refused.value.code == "state-unwritable"


class AnySequenceOfSteps(RuleBasedStateMachine):
    """Adds and moves in any order, from two connections: what callers hold may be out of date."""

    names = st.sampled_from(["one", "two"])

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "gpu.db"
        self.stores = [Store(path).open(), Store(path).open()]
        self.count = 0
        self.ended: dict[str, State] = {}
        self.held = [deployment("one", State.PLANNED)]
        self.stores[0].add(self.held[0])

    @rule(name=names, connection=st.integers(0, 1))
    def add(self, name: str, connection: int) -> None:
        self.count += 1
        new = replace(deployment(name, State.PLANNED), resource_name=f"gpu-{name}-n{self.count}")
        taken = self.stores[1 - connection].find_live(name) is not None
        try:
            self.stores[connection].add(new)
        except NameTaken:
            assert taken
            return
        assert not taken
        self.held.append(new)

    @rule(which=st.integers(0, 50), to=st.sampled_from(State), connection=st.integers(0, 1), stale=st.booleans())
    def move(self, which: int, to: State, connection: int, stale: bool) -> None:
        position = which % len(self.held)
        held = self.held[position]
        try:
            moved = self.stores[connection].move(held, to, at=NOW, ended_at=NOW)
        except (ValueError, StateMoved):
            return
        if not stale:
            self.held[position] = moved

    @invariant()
    def at_most_one_lives_of_each_name(self) -> None:
        if hasattr(self, "stores"):
            names = [one.name for one in self.stores[0].live()]
            assert len(names) == len(set(names))

    @invariant()
    def what_has_ended_stays_as_it_ended(self) -> None:
        if hasattr(self, "stores"):
            now = {one.resource_name: one.state for one in self.stores[1].ended()}
            assert now.items() >= self.ended.items()
            assert not set(now.values()) & LIVE
            self.ended = now

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.folder.cleanup()


AnySequenceOfSteps.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestAnySequenceOfSteps = AnySequenceOfSteps.TestCase


def test_a_store_that_is_opened_again_in_the_same_process_stays_in_step_with_others(tmp_path: Path) -> None:
    """Closing any other handle of the file would drop SQLite's locks, and then others take the journal away."""
    path = tmp_path / "gpu.db"
    with contextlib.closing(Store(path).open()) as store, contextlib.closing(Store(path).open()):
        store.add(deployment())
        for region in ("first", "second"):
            change = f"UPDATE deployments SET region = '{region}'"
            code = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute({change!r}); c.commit(); c.close()"
            subprocess.run([sys.executable, "-c", code], check=True)
            assert store.get("gpu-tiny-1").region == region
