import pytest
from fleets import NOW, deployment
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.stops import Stop, ends_at_latest, idle_for_s, overdue, stops_of, worst_case_usd
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
