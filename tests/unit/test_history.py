"""`gpu history`, as typed, and what `gpu plan` says of starts that were measured."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from fleets import NOW, deployment, make_fleet
from sellers import offer
from typer.testing import CliRunner, Result

from gpu_cli.commands.history import history
from gpu_cli.commands.plan_report import plan_document, plan_prose, plan_table
from gpu_cli.commands.since import since_at
from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.market import Market
from gpu_cli.planner.offers.expectations import NOTHING_LEARNT, Expectations, Expected, PastStart, learnt
from gpu_cli.planner.rank import Plan, rank
from gpu_cli.recipe.files import parse_recipe
from gpu_providers.base import Kind

app = typer.Typer()
app.command()(history)
DAY = 86_400.0


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The store that the command opens, and its clock at NOW."""
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    monkeypatch.setattr("gpu_cli.fleet.clock.Clock.now", lambda _: NOW)
    fleet = make_fleet(tmp_path)
    yield fleet
    fleet.store.close()


def add(fleet: Fleet, made: Deployment) -> None:
    """As one that was launched from here."""
    fleet.store.add(made)
    with fleet.store.transaction() as connection:
        connection.execute("INSERT INTO expected_starts VALUES (?, 100, 200, 0.9, 0)", (made.resource_name,))


def start(fleet: Fleet, *, boot_s: float = 60.0, load_s: float = 120.0, **place: Any) -> Deployment:
    """One that worked, a day ago by default."""
    at = place.pop("at", NOW - DAY)
    number = len(fleet.store.rows("SELECT 1 FROM deployments"))
    made = deployment(f"d{number}", State.BOOTING, launched_at=at, created_at=at, ready_at=None, **place)
    add(fleet, made)
    made = fleet.store.move(made, State.LOADING, at=at + boot_s)
    return fleet.store.move(made, State.READY, at=at + boot_s + load_s, ready_at=at + boot_s + load_s)


def failure(fleet: Fleet, word: str, **place: Any) -> None:
    at = place.pop("at", NOW - DAY)
    number = len(fleet.store.rows("SELECT 1 FROM deployments"))
    made = deployment(f"d{number}", State.LAUNCHING, launched_at=at, created_at=at, ready_at=None, **place)
    add(fleet, replace(made, failure=word))
    fleet.store.move(made, State.FAILED, at=at, ended_at=at)


def gpu(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def rows(*arguments: str) -> list[dict[str, Any]]:
    result = gpu(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document["version"] == 1
    found: list[dict[str, Any]] = document["rows"]
    return found


def test_starts_are_counted_by_what_came_of_them_where_they_were(fleet: Fleet) -> None:
    for boot_s in (60, 80, 70):
        start(fleet, boot_s=boot_s)
    failure(fleet, "no-capacity")
    failure(fleet, "host-failed")
    failure(fleet, "no-capacity")
    failure(fleet, "")
    start(fleet, region="elsewhere")
    elsewhere, here = rows()
    assert {name: here[name] for name in ("provider", "kind", "gpu", "gpu_count", "region", "host")} == {
        "provider": "cloud",
        "kind": "pod",
        "gpu": "H100",
        "gpu_count": 1,
        "region": "here",
        "host": None,
    }
    assert (here["starts"], here["worked"], here["cut_short"], here["lost"]) == (7, 3, 1, 0)
    assert here["failed"] == {"no-capacity": 2, "host-failed": 1}
    assert here["boot_s"] == {"median": 70.0, "p90": 80.0}
    assert here["load_s"] == {"median": 120.0, "p90": 120.0}
    assert here["start_s"] == {"median": 190.0, "p90": 200.0}
    assert (elsewhere["region"], elsewhere["starts"]) == ("elsewhere", 1)


def test_people_read_a_line_a_place(fleet: Fleet) -> None:
    for boot_s in (60, 100, 60):
        start(fleet, boot_s=boot_s, gpu_count=2)
    failure(fleet, "host-failed", gpu_count=2)
    header, line = gpu().stdout.splitlines()
    assert header.split() == ["WHERE", "GPU", "REGION", "STARTS", "WORKED", "FAILED", "BOOT", "LOAD", "START"]
    assert line.split() == ["cloud", "H100", "x2", "here", "4", "3", "1", "host-failed", "1m-1m40s", "2m", "3m-3m40s"]


def test_without_starts_there_is_nothing_to_show(fleet: Fleet) -> None:
    assert rows() == []
    assert "no such start is on record" in gpu().stderr


def test_machines_are_told_apart_where_that_is_asked_for(fleet: Fleet) -> None:
    start(fleet, host="m1")
    start(fleet, host="m2")
    assert [row["starts"] for row in rows()] == [2]
    assert [row["host"] for row in rows("--hosts")] == ["m1", "m2"]


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (("--provider", "cloud"), 2),
        (("--provider", "vast"), 0),
        (("--gpu", "h100"), 1),
        (("--gpu", "A100"), 1),
        (("--since", "7d"), 1),
        (("--since", "2027-01-01"), 2),
        (("--since", "2028-01-01"), 0),
    ],
)
def test_only_what_is_asked_for_is_counted(fleet: Fleet, arguments: tuple[str, ...], starts: int) -> None:
    start(fleet)
    start(fleet, gpu="A100-80GB", at=NOW - 10 * DAY)
    assert sum(row["starts"] for row in rows(*arguments)) == starts


@pytest.mark.parametrize(
    ("text", "at"), [(None, None), ("7d", NOW - 7 * DAY), ("1h30m", NOW - 5400), ("2027-01-01", 1_798_761_600.0)]
)
def test_since_is_a_length_of_time_or_a_day_that_begins_at_midnight_utc(text: str | None, at: float | None) -> None:
    assert since_at(text, NOW) == at


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "2026-11", "-1d", ""])
def test_since_when_nobody_knows_is_told_so(text: str) -> None:
    with pytest.raises(UserError, match="--since") as refused:
        since_at(text, NOW)
    assert refused.value.exit_status == 2


def planned(expectations: Expectations) -> Plan:
    recipe = parse_recipe("model: A/B\ngpu: {names: [H100]}\n", Path("/r.yaml"), shown="r.yaml")
    return rank(recipe, [offer(), offer("vast", 2.5)], None, expectations=expectations)


def test_a_plan_says_which_starts_are_expected_as_they_went_before() -> None:
    past = PastStart("runpod", Kind.POD, "H100", 1, "eu", "", NOW, Expected(100, 100, 0.9), 150.0, 100.0, came_up=True)
    plan = planned(learnt([past, past, replace(past, boot_s=None, load_s=None, came_up=False)], NOW))
    first, second = plan_document(plan)["candidates"]  # type: ignore[misc]
    assert (first["expected_start_source"], first["starts_seen"]) == ("measured in this region", 3)
    assert (second["expected_start_source"], second["starts_seen"]) == ("terms", 0)
    assert (first["starts_failed"], second["starts_failed"]) == (1, 0)
    assert 0 < first["expected_odds"] < 1
    assert first["why"].endswith(" (seen: 3 starts in this region, 1 failed)")
    assert "seen" not in second["why"]
    marks = [row[-1] for row in plan_table(plan, everything=True).rows]
    assert [str(mark).endswith("*") for mark in marks] == [True, False]
    assert "START with *: by how yours went there before (gpu history)" in plan_prose(plan, Market(), everything=False)


def test_a_plan_by_the_terms_alone_has_no_marks() -> None:
    plan = planned(NOTHING_LEARNT)
    assert not any("*" in str(cell) for row in plan_table(plan, everything=True).rows for cell in row)
    assert not any("history" in line for line in plan_prose(plan, Market(), everything=False))
