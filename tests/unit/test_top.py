"""What `gpu top` says of all that lives: its columns, its details, and what it says without a terminal."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from driver import Gpu
from fleets import NOW, Cloud, deployment, make_fleet
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_cli.commands.top import top
from gpu_cli.commands.top_report import top_result
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.stops import Stop, stops_of
from gpu_cli.fleet.gauges.readings import Gauges
from gpu_cli.top.columns import COLUMNS, GAP, NOTHING_ENDS_IT, brief, cells, columns_for
from gpu_cli.top.desk import FleetDesk
from gpu_cli.top.details import details, sparkline
from gpu_cli.top.sight import Seen, Sight
from gpu_cli.ui.output import has_screen
from gpu_providers.base import Kind

BUSY = Gauges(deployment(), NOW, 3, 1, 1800.0, 640.4, 0.31, 0.5, 2, 70.2, 80.0)
"""A deployment of which everything is known."""


def seen(gauges: Gauges = BUSY, *, guard_lives: bool = True) -> Seen:
    return Seen(gauges, stops_of(gauges.deployment, guard_lives=guard_lives))


def row_of(one: Seen, now: float = NOW) -> dict[str, str]:
    return dict(zip([column.title for column in COLUMNS], cells(COLUMNS, Sight(now, (one,)))[0], strict=True))


def test_a_row_says_what_an_engine_does_what_it_costs_and_what_ends_it() -> None:
    assert row_of(seen(), NOW + 60) == {
        "NAME": "tiny",
        "STATE": "ready",
        "WHERE": "cloud H100",
        "RUN": "3",
        "WAIT": "1",
        "IN/S": "1,800",
        "OUT/S": "640",
        "KV": "31%",
        "PREFIX": "50%",
        "PREEMPTED": "2",
        "GPU MEMORY": "70/80 GiB",
        "SPENT": "$0.03",
        "ENDS": "idle in 9m",
    }


def test_what_is_not_known_is_no_zero() -> None:
    starting = seen(Gauges(deployment(state=State.LOADING, active_at=None), NOW))
    row = row_of(starting)
    assert {row[title] for title in ("RUN", "WAIT", "IN/S", "OUT/S", "KV", "PREFIX", "PREEMPTED", "GPU MEMORY")} == {
        "-"
    }
    assert row["ENDS"] == "deadline in 1h"


def test_what_nothing_will_end_is_said_out_loud() -> None:
    assert row_of(seen(guard_lives=False))["ENDS"] == NOTHING_ENDS_IT
    assert ("ends", NOTHING_ENDS_IT) in details(seen(guard_lives=False), NOW, [])


def test_an_engine_that_does_not_answer_has_a_mark_and_a_reason() -> None:
    silent = seen(Gauges(deployment(), NOW, problem="its engine does not answer"))
    assert row_of(silent)["STATE"] == "ready !"
    assert top_result(Sight(NOW, (silent,))).messages == ("tiny: its engine does not answer",)


@pytest.mark.parametrize(
    ("now", "changes", "expected"),
    [
        (NOW, {}, ("idle", 600.0)),
        (NOW + 3500, {"active_at": NOW + 3400}, ("deadline", 100.0)),
        (NOW + 60, {"budget_usd": 0.1}, ("budget", 120.0)),
        (NOW + 9999, {"active_at": NOW + 9998}, ("deadline", 0.0)),
        (NOW, {"kind": Kind.SERVERLESS}, ("deadline", 3600.0)),
    ],
)
def test_the_first_of_its_stops_is_what_ends_it(
    now: float, changes: dict[str, object], expected: tuple[str, float]
) -> None:
    assert seen(replace(BUSY, deployment=deployment(**changes))).next_end(now) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_stop_that_is_not_armed_ends_nothing() -> None:
    unarmed = Stop("idle", "supervisor", False, None, 10.0)
    armed = Stop("deadline", "guard", True, NOW + 90, None)
    assert Seen(BUSY, (unarmed, armed)).next_end(NOW) == ("deadline", 90.0)


@given(st.integers(50, 200), st.text("abcdefgh-", min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_narrow_terminal_goes_without_whole_columns(width: int, name: str) -> None:
    sight = Sight(NOW, (seen(replace(BUSY, deployment=deployment(name))),))
    shown = columns_for(sight, width)
    titles = [column.title for column in shown]
    assert {"NAME", "STATE", "ENDS"} <= set(titles)
    assert titles == [column.title for column in COLUMNS if column in shown]
    assert sum(shown.values()) + GAP * len(shown) <= width
    assert all(len(cell) <= shown[column] for column, cell in zip(shown, cells(list(shown), sight)[0], strict=True))
    gone = [column.goes for column in COLUMNS if column not in shown]
    assert min(gone, default=99) > max((column.goes for column in shown), default=0)


def test_eighty_columns_show_the_work_and_a_hundred_and_forty_everything() -> None:
    sight = Sight(NOW, (seen(),))
    assert {"RUN", "WAIT", "OUT/S", "KV", "SPENT"} <= {column.title for column in columns_for(sight, 80)}
    assert list(columns_for(sight, 140)) == list(COLUMNS)


def test_a_long_name_is_cut_and_takes_the_place_of_no_figure() -> None:
    sight = Sight(NOW, (seen(replace(BUSY, deployment=deployment("x" * 63))),))
    shown = columns_for(sight, 80)
    assert {"OUT/S", "ENDS"} <= {column.title for column in shown}
    assert sum(shown.values()) + GAP * len(shown) <= 80
    assert columns_for(sight, 300)[COLUMNS[0]] == 63


def test_details_say_what_the_table_has_no_room_for() -> None:
    said = dict(details(seen(), NOW, [0.0, 320.0, 640.0]))
    assert said == {
        "name": "tiny",
        "model": "tiny",
        "endpoint": "http://cloud/v1",
        "runs on": "cloud H100, $2.00/h, $0.00 so far",
        "requests": "3 running, 1 waiting",
        "tokens/s": "1,800 in, 640 out  ▁▅█",
        "KV cache": "31% used, 2 requests preempted",
        "prefixes": "50% of prompt tokens found in the cache",
        "memory": "70/80 GiB of its cards",
        "ends": "after 10m idle (guard); deadline in 1h (guard)",
    }


def test_details_leave_out_what_is_not_known() -> None:
    starting = seen(Gauges(deployment(state=State.BOOTING, endpoint=""), NOW))
    said = dict(details(starting, NOW, []))
    assert list(said) == ["name", "model", "endpoint", "runs on", "ends"]
    assert said["endpoint"] == "none yet"


def test_times_are_as_exact_as_one_wants_them() -> None:
    assert [brief(seconds) for seconds in (0, 45.7, 119, 754, 11_400, 187_300)] == [
        "0s",
        "45s",
        "1m59s",
        "12m",
        "3h10m",
        "2d4h",
    ]


def test_a_line_of_bars_is_as_tall_as_the_most_there_was() -> None:
    assert sparkline([0, 5, 10]) == "▁▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def test_without_a_terminal_one_document_says_it_all() -> None:
    document = json.loads(json.dumps(top_result(Sight(NOW, (seen(),))).document))
    assert document["at"] == "2027-01-15T08:00:00Z"
    (one,) = document["deployments"]
    figures = {
        "requests_running": 3,
        "requests_waiting": 1,
        "input_tokens_per_s": 1800.0,
        "output_tokens_per_s": 640.4,
        "kv_cache_used": 0.31,
        "prefix_cache_hits": 0.5,
        "preemptions": 2,
        "gpu_memory_used_gib": 70.2,
        "gpu_memory_total_gib": 80.0,
        "problem": "",
    }
    assert {key: one[key] for key in figures} == figures
    assert (one["name"], one["stops"][0]["kind"]) == ("tiny", "idle")


def test_the_program_says_that_nothing_is_running(gpu: Gpu) -> None:
    ran = gpu("top", "--json")
    assert (ran.exit, ran.json["deployments"]) == (0, [])
    assert "nothing is running" in ran.stderr


@pytest.mark.parametrize("every", ["soon", "1ms", "0.4"])
def test_engines_are_not_asked_all_the_time(every: str) -> None:
    with pytest.raises(UserError, match="--every: ") as caught:
        top(every)
    assert caught.value.exit_status is Exit.BAD_INPUT


def test_the_desk_sees_the_fleet_and_takes_down_what_is_to_go(tmp_path: Path) -> None:
    cloud = Cloud()
    fleet = make_fleet(tmp_path, cloud)
    one = deployment()
    cloud.add(one.resource_name)
    fleet.store.add(one)
    desk = FleetDesk(fleet)
    (found,) = desk.look().seen
    assert found.deployment == one
    assert "key is not on this machine" in found.gauges.problem
    assert {stop.kind for stop in found.stops} == {"idle", "deadline"}

    cloud.logged = ["hello"]
    assert list(desk.logs(one, lambda: False)) == ["hello"]

    ended = desk.take_down(one)
    assert (ended.state, ended.reason) == (State.GONE, "gpu down")
    assert cloud.resources == {}
    assert desk.look().seen == ()
    desk.close()
    fleet.store.close()


def test_a_record_that_becomes_unreadable_is_a_look_that_failed(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path)
    fleet.store.close()
    fleet.store.path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(UserError, match="the record of deployments is unreadable") as caught:
        FleetDesk(fleet).look()
    assert "gpu ls" in caught.value.hint


@pytest.mark.parametrize(("term", "draws"), [("xterm-256color", True), ("linux", True), ("dumb", False), ("", False)])
def test_only_a_terminal_that_can_be_drawn_on_is_drawn_on(
    monkeypatch: pytest.MonkeyPatch, term: str, draws: bool
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Mock(isatty=lambda: True))
    monkeypatch.setenv("TERM", term)
    assert has_screen() is draws
