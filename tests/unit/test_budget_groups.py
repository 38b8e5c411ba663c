"""Several deployments under one cap."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.reconcile import see
from gpu_cli.fleet.end.settle import settle
from gpu_cli.fleet.end.stops import Stop, ends_at_latest, group_end_of, stops_of, worst_case_usd
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.money.budget_groups import budgets_usd, check_room, end_of, ends_at, join, left_of
from gpu_cli.fleet.store import Store

HOUR_S = 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    with closing(fleet.store):
        yield fleet


def add(fleet: Fleet, cloud: Cloud, name: str, **changes: object) -> None:
    """A member of the group `ci`, which bills its price."""
    made = deployment(name, **{"budget_group": "ci", "deadline_at": NOW + 1e6, **changes})
    fleet.store.add(made)
    cloud.resources[made.resource_name] = replace(cloud.add(made.resource_name), price_usd_per_hour=2.0)


def refused(store: Store, text: str) -> str:
    with pytest.raises(UserError) as error:
        join(store, text)
    assert error.value.exit_status is Exit.BAD_INPUT
    return error.value.code


def test_an_amount_makes_a_group_and_changes_it_and_a_name_joins_it(fleet: Fleet) -> None:
    assert refused(fleet.store, "ci") == "no-budget-group"
    assert join(fleet.store, "ci=5") == "ci"
    assert join(fleet.store, "ci") == "ci"
    assert join(fleet.store, "ci=2.50") == "ci"
    assert budgets_usd(fleet.store) == {"ci": 2.5}


@pytest.mark.parametrize("text", ["=5", "ci=", "ci=much", "ci=0", "ci=-1", "C I=5", "a/b"])
def test_what_makes_no_sense_is_refused_and_makes_no_group(fleet: Fleet, text: str) -> None:
    assert refused(fleet.store, text) == "bad-budget-group"
    assert budgets_usd(fleet.store) == {}


def test_all_that_ever_named_it_have_spent_it(fleet: Fleet, cloud: Cloud) -> None:
    join(fleet.store, "ci=10")
    add(fleet, cloud, "gone")
    fleet.store.move(fleet.store.get("gpu-gone-1"), State.GONE, at=NOW + HOUR_S, ended_at=NOW + HOUR_S)
    add(fleet, cloud, "lives")
    add(fleet, cloud, "other", budget_group="")
    assert left_of(fleet.store, "ci", NOW + 2 * HOUR_S) == pytest.approx(10 - 2 - 4)


def test_one_that_ends_while_it_is_looked_at_has_spent_it_once(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    join(fleet.store, "ci=3")
    add(fleet, cloud, "one")
    add(fleet, cloud, "two")
    clock.time += HOUR_S / 2
    as_they_were = fleet.store.live()
    fleet.store.move(fleet.store.live()[0], State.GONE, at=clock.now())
    assert ends_at(fleet.store, as_they_were, clock.now())["ci"] > clock.now()


def test_there_is_room_as_long_as_a_start_can_be_paid(fleet: Fleet, cloud: Cloud) -> None:
    join(fleet.store, "ci=1")
    add(fleet, cloud, "lives")
    for price, after_s, is_room in ((6.0, 0, True), (6.0, 1000, False), (2.0, 1000, True), (0.0, 9999, True)):
        if is_room:
            check_room(fleet.store, "ci", price, now=NOW + after_s, shortest_s=300)
            continue
        with pytest.raises(UserError) as error:
            check_room(fleet.store, "ci", price, now=NOW + after_s, shortest_s=300)
        assert (error.value.exit_status, error.value.code) == (Exit.LIMIT_REACHED, "budget-group")
    check_room(fleet.store, "", 100.0, now=NOW, shortest_s=300)


def test_every_member_shows_when_all_of_them_together_have_used_it_up(fleet: Fleet, cloud: Cloud) -> None:
    join(fleet.store, "ci=4")
    add(fleet, cloud, "one")
    add(fleet, cloud, "two", own_stop_armed=True)
    ends = ends_at(fleet.store, fleet.store.live(), NOW + 600)
    assert ends == {"ci": pytest.approx(NOW + HOUR_S)}
    two = fleet.store.get("gpu-two-1")
    stops = stops_of(two, guard_lives=True, group_ends_at=ends["ci"])
    assert Stop("budget-group", "guard", True, ends["ci"], None) in stops
    assert group_end_of(stops) == ends_at_latest(two, ends["ci"]) == ends["ci"]
    assert worst_case_usd(two, ends["ci"]) == pytest.approx(2.0)


def test_a_group_without_anything_that_bills_ends_nothing(fleet: Fleet, cloud: Cloud) -> None:
    join(fleet.store, "ci=4")
    add(fleet, cloud, "free", price_usd_per_hour=0.0)
    add(fleet, cloud, "planned", state=State.PLANNED, launched_at=None)
    add(fleet, cloud, "alone", budget_group="")
    assert ends_at(fleet.store, fleet.store.live(), NOW) == {}
    assert end_of(fleet.store, fleet.store.get("gpu-alone-1"), NOW) is None


def test_who_reaches_it_takes_all_members_down_with_it_and_nobody_else(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By any command, where no guard is at work."""
    monkeypatch.setattr("gpu_cli.fleet.end.settle.ensure_guard", lambda _: None)
    join(fleet.store, "ci=4")
    for name, group in (("one", "ci"), ("two", "ci"), ("other", "")):
        add(fleet, cloud, name, budget_group=group)
    clock.time = NOW + HOUR_S - 1
    assert [see(fleet, one).due for one in fleet.store.live()] == ["", "", ""]
    clock.time = NOW + HOUR_S + 1
    settle(fleet)
    assert [one.name for one in fleet.store.live()] == ["other"]
    assert {one.name: one.reason for one in fleet.store.ended()} == {"one": "budget", "two": "budget"}
    assert left_of(fleet.store, "ci", clock.time) == pytest.approx(0, abs=0.01)


def test_a_price_that_rises_brings_the_end_of_all_of_them_nearer(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    join(fleet.store, "ci=4")
    add(fleet, cloud, "one")
    before = end_of(fleet.store, fleet.store.get("gpu-one-1"), NOW)
    clock.time = NOW + HOUR_S
    cloud.resources["gpu-one-1"] = replace(cloud.resources["gpu-one-1"], price_usd_per_hour=4.0)
    after = end_of(fleet.store, see(fleet, fleet.store.get("gpu-one-1")).deployment, clock.time)
    assert (before, after) == (pytest.approx(NOW + 2 * HOUR_S), pytest.approx(NOW + 1.5 * HOUR_S))


@settings(max_examples=20, deadline=None)
@given(
    budget=st.floats(0.5, 50),
    members=st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 3000)), min_size=1, max_size=4),
)
def test_looked_at_in_time_a_group_never_costs_more_than_its_budget(
    tmp_path_factory: pytest.TempPathFactory, budget: float, members: list[tuple[float, float]]
) -> None:
    fleet = make_fleet(tmp_path_factory.mktemp("fleet"))
    with closing(fleet.store):
        join(fleet.store, f"ci={budget:.6f}")
        for number, (price, _) in enumerate(members):
            fleet.store.add(deployment(f"m{number}", price_usd_per_hour=price, budget_group="ci"))
        end = end_of(fleet.store, fleet.store.get("gpu-m0-1"), NOW)
        assert end is not None
        for number, (_, lived_s) in enumerate(members):
            at = min(NOW + int(lived_s), int(end))  # whole seconds: clouds bill what is begun of one
            fleet.store.move(fleet.store.get(f"gpu-m{number}-1"), State.GONE, at=at, ended_at=at)
        assert left_of(fleet.store, "ci", end) >= -1e-4
