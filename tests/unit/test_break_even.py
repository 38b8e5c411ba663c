"""From which use on a machine by the hour is the cheaper way to rent the GPUs of a serverless offer."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.offers.break_even import cheapest_rival, serverless_break_even
from gpu_providers.base import Kind, Offer

POD = Offer("runpod", Kind.POD, "pod", "H100", 1, 79.2, "eu", 3.0, {}, datetime(2026, 11, 1, tzinfo=UTC))
WORKER = replace(POD, provider="modal", kind=Kind.SERVERLESS, offer_id="worker", price_usd_per_hour=4.0)


@pytest.mark.parametrize(
    "cheapest",
    [
        replace(POD, price_usd_per_hour=2.0),
        replace(POD, provider="vast", price_usd_per_hour=2.0),
        replace(POD, provider="lambda", kind=Kind.VM, price_usd_per_hour=2.0),
    ],
)
def test_of_all_pods_and_vms_at_any_cloud_the_cheapest_is_the_rival(cheapest: Offer) -> None:
    assert cheapest_rival(WORKER, [WORKER, POD, cheapest]) == cheapest
    assert serverless_break_even(WORKER, cheapest) == 0.5


@pytest.mark.parametrize(
    "other",
    [
        replace(POD, gpu="H200"),
        replace(POD, gpu_count=2),
        replace(POD, interruptible=True),
        replace(POD, price_usd_per_hour=0.05),
        replace(POD, kind=Kind.PROCESS),
        replace(WORKER, provider="runpod", price_usd_per_hour=3.0),
    ],
)
def test_only_what_can_take_its_place_is_compared(other: Offer) -> None:
    assert cheapest_rival(WORKER, [WORKER, other]) is None


def test_a_pod_is_not_compared_with_itself() -> None:
    assert cheapest_rival(POD, [POD, WORKER]) is None


@given(st.floats(1, 20), st.floats(1, 20), st.floats(0, 1))
def test_below_the_share_serverless_costs_less_and_above_it_more(
    pod_usd: float, worker_usd: float, busy: float
) -> None:
    pod, worker = replace(POD, price_usd_per_hour=pod_usd), replace(WORKER, price_usd_per_hour=worker_usd)
    share = serverless_break_even(worker, pod)
    if busy < share * (1 - 1e-9):
        assert busy * worker_usd < pod_usd
    elif busy > share * (1 + 1e-9):
        assert busy * worker_usd > pod_usd


def test_what_costs_nothing_is_cheaper_however_busy_it_is() -> None:
    assert serverless_break_even(replace(WORKER, price_usd_per_hour=0.0), POD) == 1
