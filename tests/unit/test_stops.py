from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fleets import NOW, Cloud, deployment, make_fleet
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpu_cli.app import app
from gpu_cli.commands.documents import stops_now
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import LOST_RACE, State
from gpu_cli.fleet.end.stops import Stop, ends_at_latest, idle_for_s, overdue, stops_of, worst_case_usd
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path
from gpu_cli.fleet.launch.confirm import check_ended_by_something
from gpu_cli.fleet.money.metering import looked_at
from gpu_cli.locks import Lock, released
from gpu_providers.base import Kind

prices = st.floats(0.01, 100)
budgets = st.floats(0.01, 1000)
lives = st.floats(1, 1e6)


def test_two_hands_are_on_idleness_and_deadline_and_the_budget_is_the_guards() -> None:
    ready = deployment(own_stop_armed=True, budget_usd=1.0)
    assert stops_of(ready, guard_lives=False) == (
        Stop("idle", "supervisor", True, None, 600.0),
        Stop("idle", "guard", False, None, 600.0),
        Stop("deadline", "supervisor", True, NOW + 3600, None),
        Stop("deadline", "guard", False, NOW + 3600, None),
        Stop("budget", "guard", False, NOW + 1800, None),
    )


def test_what_costs_nothing_has_no_budget_to_use_up() -> None:
    free = deployment(price_usd_per_hour=0.0, budget_usd=1.0)
    assert {stop.kind for stop in stops_of(free, guard_lives=True)} == {"idle", "deadline"}
    assert free.budget_ends_at() is None
    assert worst_case_usd(free) == 0


def test_nothing_ends_what_has_ended() -> None:
    assert stops_of(deployment(state=State.GONE), guard_lives=True) == ()


def test_the_deadline_comes_before_the_budget_in_the_reason() -> None:
    both = deployment(budget_usd=1.0)
    assert overdue(both, NOW + 1799) == ""
    assert overdue(both, NOW + 1800) == "budget"
    assert overdue(both, NOW + 3600) == "deadline"


def test_what_bills_nothing_yet_uses_up_no_budget() -> None:
    planned = deployment(state=State.PLANNED, launched_at=None, budget_usd=0.01)
    assert overdue(planned, NOW + 3599) == ""
    assert worst_case_usd(planned) == 0


def test_only_what_is_ready_can_be_idle() -> None:
    assert idle_for_s(deployment(), NOW + 7) == 7
    assert idle_for_s(deployment(), NOW - 7) == 0
    assert idle_for_s(deployment(state=State.LOADING), NOW + 7) is None


@given(prices, budgets, lives)
def test_the_worst_cost_is_never_above_the_budget_nor_above_the_price_of_the_whole_life(
    price: float, budget: float, life_s: float
) -> None:
    limited = deployment(price_usd_per_hour=price, budget_usd=budget, deadline_at=NOW + life_s)
    worst = worst_case_usd(limited)
    assert 0 <= worst <= min(budget, price * life_s / 3600) * (1 + 1e-6) + 1e-6
    assert overdue(limited, ends_at_latest(limited) + 0.001)


@given(prices, budgets, lives, st.floats(0, 2e6))
def test_spending_never_passes_the_worst_cost_before_it_is_overdue(
    price: float, budget: float, life_s: float, after_s: float
) -> None:
    limited = deployment(price_usd_per_hour=price, budget_usd=budget, deadline_at=NOW + life_s)
    if not overdue(limited, NOW + after_s):
        assert limited.spent_usd(NOW + after_s) <= worst_case_usd(limited) * (1 + 1e-6) + 1e-6


def test_the_worst_case_counts_every_worker_that_may_run_at_once() -> None:
    three = deployment(kind=Kind.SERVERLESS, most_workers=3, budget_usd=3.0)
    assert worst_case_usd(deployment(kind=Kind.SERVERLESS, most_workers=3)) == pytest.approx(6.0)
    assert three.budget_ends_at() == pytest.approx(NOW + 1800)


def test_idleness_ends_no_endpoint_that_scales_to_zero_and_its_cloud_stops_the_workers() -> None:
    endpoint = deployment(kind=Kind.SERVERLESS, own_stop_armed=True)
    assert stops_of(endpoint, guard_lives=True) == (
        Stop("idle", "native", True, None, 600.0),
        Stop("deadline", "guard", True, NOW + 3600, None),
    )
    assert idle_for_s(endpoint, NOW + 50) is None


@given(st.lists(st.tuples(st.floats(1, 600), st.floats(0, 1)), min_size=1, max_size=10), prices, budgets)
def test_what_bills_less_than_its_price_while_it_boots_has_its_whole_budget_for_the_rest(
    looks: list[tuple[float, float]], price: float, budget: float
) -> None:
    """Counted from the last look on, at the price: never too late, and no earlier than that."""
    booting, at = deployment(price_usd_per_hour=price, budget_usd=budget, ready_at=None, deadline_at=NOW + 1e9), NOW
    for pause_s, part in looks:
        at += pause_s
        booting, _ = looked_at(booting, part * price, at)
        spent_usd, ends_at = booting.spent_usd(at), booting.budget_ends_at()
        assert ends_at == pytest.approx(at + (budget - spent_usd) / price * 3600)
        worst_usd = worst_case_usd(booting)
        assert worst_usd == pytest.approx(max(budget, spent_usd))


# --- where nothing, or only this machine, ends it ---------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """That of the commands, without a guard."""
    cloud = Cloud()
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    monkeypatch.setattr("gpu_providers.registry.available", lambda: ["cloud"])
    monkeypatch.setattr("gpu_providers.registry.load", lambda *_: cloud)
    monkeypatch.setattr("gpu_cli.fleet.end.settle.ensure_guard", lambda _: None)
    fleet = make_fleet(tmp_path, cloud, Clock())
    now = fleet.clock.now()
    with closing(fleet.store):
        fleet.store.add(deployment(created_at=now, launched_at=now, active_at=now, deadline_at=now + 3600))
        fleet.keys.create("gpu-tiny-1")
        cloud.add("gpu-tiny-1")
        yield fleet


def listed() -> str:
    result = CliRunner().invoke(app, ["ls"])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_ls_marks_what_nothing_will_end_and_what_only_the_guard_of_this_machine_does(fleet: Fleet) -> None:
    assert "NOTHING WILL END IT: idle 10m" in listed()
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        assert "ONLY FROM THIS MACHINE: idle 10m" in listed()
        fleet.store.update("gpu-tiny-1", own_stop_armed=True)
        assert "  idle 10m, or in" in listed()


def test_without_its_key_no_guard_here_ends_it_for_being_idle(fleet: Fleet) -> None:
    fleet.keys.forget("gpu-tiny-1")
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        assert "idle 10m" not in listed()
        tiny = fleet.store.get("gpu-tiny-1")
        armed = {(stop.kind, stop.by): stop.armed for stop in stops_now(fleet, tiny)}
    assert armed["idle", "guard"] is False
    assert armed["deadline", "guard"] is True


def test_what_raced_and_was_never_had_is_not_listed(fleet: Fleet) -> None:
    now = fleet.clock.now()
    for number, resource_id in enumerate(["", "id-2"], start=1):
        racer = deployment(f"other-race-{number}", resource_id=resource_id, tied=True)
        fleet.store.add(racer)
        fleet.store.move(racer, State.GONE, at=now, reason=LOST_RACE)
    told = listed()
    assert "other-race-1" not in told
    assert "other-race-2" in told


def test_up_does_not_pass_over_that_nothing_will_end_it(fleet: Fleet) -> None:
    with pytest.raises(UserError) as told:
        check_ended_by_something(fleet, fleet.store.get("gpu-tiny-1"))
    assert (told.value.exit_status, told.value.code) == (Exit.CLEANUP_UNCONFIRMED, "nothing-ends-it")
    assert told.value.still_billing == ("gpu-tiny-1",)
    check_ended_by_something(fleet, fleet.store.update("gpu-tiny-1", own_stop_armed=True))
