"""`gpu cost`: what was spent, added up as it is asked for."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fleets import deployment, make_fleet
from typer.testing import CliRunner, Result

from gpu_cli.app import app
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.money.budget_groups import join

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
HOUR_S = 3600.0


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """That of the commands."""
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    fleet = make_fleet(tmp_path, clock=Clock())
    with closing(fleet.store):
        yield fleet


@pytest.fixture
def spent(fleet: Fleet) -> Fleet:
    """Two hours of one at 2 USD, before and after a midnight one of another at 4 USD, and a free one."""
    join(fleet.store, "ci=20")
    noon = NOON.timestamp()
    lived(fleet, "one", noon, 2.0, 2.0, budget_group="ci")
    lived(fleet, "two", noon + 11 * HOUR_S, 4.0, 2.0, provider="other")
    lived(fleet, "free", noon, 0.0, 5.0)
    return fleet


def lived(fleet: Fleet, name: str, since: float, usd_per_hour: float, hours: float, **changes: object) -> None:
    times = {"created_at": since, "launched_at": since, "deadline_at": since + 99 * HOUR_S}
    made = deployment(name, price_usd_per_hour=usd_per_hour, **times, **changes)
    fleet.store.add(made)
    fleet.store.move(made, State.GONE, at=since + hours * HOUR_S, ended_at=since + hours * HOUR_S, reason="gpu down")


def gpu(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["cost", *arguments])
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result


def document(*arguments: str) -> dict[str, object]:
    said: dict[str, object] = json.loads(gpu(*arguments, "--json").stdout)
    return said


def test_the_document_has_the_promised_keys_and_what_was_free_is_left_out(spent: Fleet) -> None:
    assert document() == {
        "version": 1,
        "since": None,
        "by": "recipe",
        "total_usd": 12.0,
        "rows": [
            {"key": "two", "usd": 8.0, "hours": 2.0, "deployments": 1},
            {"key": "one", "usd": 4.0, "hours": 2.0, "deployments": 1},
        ],
    }


def test_by_day_what_went_on_past_midnight_is_two_days(spent: Fleet) -> None:
    today, tomorrow = NOON.date(), (NOON + timedelta(days=1)).date()
    rows = document("--by", "day")["rows"]
    assert rows == [
        {"key": today.isoformat(), "usd": 8.0, "hours": 3.0, "deployments": 2},
        {"key": tomorrow.isoformat(), "usd": 4.0, "hours": 1.0, "deployments": 1},
    ]


def test_of_a_group_it_also_says_what_it_may_cost(spent: Fleet) -> None:
    ungrouped, group = document("--by", "group")["rows"]  # type: ignore[misc]  # a list
    assert group == {"key": "ci", "usd": 4.0, "hours": 2.0, "deployments": 1, "budget_usd": 20.0}
    assert ungrouped["key"] == ""
    assert "$4.00 of $20.00" in gpu("--by", "group").stdout


def test_since_a_day_or_so_long_ago_only_what_was_spent_from_then_on_counts(spent: Fleet) -> None:
    tomorrow = (NOON + timedelta(days=1)).date().isoformat()
    since = document("--since", tomorrow)
    assert (since["total_usd"], since["since"]) == (4.0, f"{tomorrow}T00:00:00Z")
    assert document("--since", "30d")["total_usd"] == 12.0
    assert document("--since", "1h")["rows"] == []


def test_people_get_a_table_with_the_total_in_the_end(spent: Fleet) -> None:
    lines = gpu("--by", "provider").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["PROVIDER", "SPENT", "HOURS", "DEPLOYMENTS"],
        ["other", "$8.00", "2.00", "1"],
        ["cloud", "$4.00", "2.00", "1"],
        ["in", "all", "$12.00", "4.00"],
    ]


def test_where_nothing_was_spent_that_is_said(fleet: Fleet) -> None:
    said = gpu()
    assert (said.stdout, said.stderr) == ("", "nothing was spent\n")
    assert document() == {"version": 1, "since": None, "by": "recipe", "total_usd": 0, "rows": []}


def test_what_is_no_time_is_refused(fleet: Fleet) -> None:
    result = CliRunner().invoke(app, ["cost", "--since", "yesterday"])
    assert isinstance(result.exception, UserError)
    assert result.exception.exit_status is Exit.BAD_INPUT
