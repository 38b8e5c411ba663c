from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.offers.cloud_terms import SPOT_ODDS, terms_of
from gpu_cli.planner.offers.expectations import Correction, Expectations, PastStart, learnt
from gpu_cli.planner.offers.session_price import Session, session_price
from gpu_providers.base import Kind, Offer

AT = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = Session(use_s=3600, idle_s=900)
PRICES = st.floats(0, 100)
TIMES = st.floats(0, 86_400)


def offer(provider: str = "runpod", kind: Kind = Kind.POD, price: float = 2.0, count: int = 1) -> Offer:
    return Offer(provider, kind, "one", "H100", count, 79.2, "us", price, {"gpu": price}, AT)


def test_a_session_is_paid_from_the_order_to_the_end_of_the_idle_tail() -> None:
    price = session_price(offer(price=3.6), HOUR)
    billed_s = price.start_s + 3600 + 900
    assert price.cost_usd == pytest.approx(billed_s * 0.001 / price.odds, abs=0.002)


def test_larger_weights_take_longer_and_cost_more() -> None:
    small, large = (session_price(offer(), HOUR, weights_gib=gib) for gib in (15, 140))
    assert large.start_s - small.start_s > 125 * 2**30 / 1e6 / terms_of(offer()).download_mb_per_s
    assert large.cost_usd > small.cost_usd


def test_a_dearer_offer_with_a_fast_line_beats_a_cheap_one_with_a_slow_one_where_the_weights_are_large() -> None:
    slow = replace(offer("vast", price=2.0), bandwidth_mb_per_s=12.5)
    fast = replace(offer("vast", price=2.4), bandwidth_mb_per_s=250)
    short = Session(use_s=1800, idle_s=300)
    assert session_price(fast, short, weights_gib=70).cost_usd < session_price(slow, short, weights_gib=70).cost_usd
    assert session_price(fast, short, weights_gib=1).cost_usd > session_price(slow, short, weights_gib=1).cost_usd


def test_what_boots_seldom_costs_more_than_its_price() -> None:
    sure, unsure = replace(offer(), boot_odds=1.0), replace(offer(), boot_odds=0.5)
    assert session_price(unsure, HOUR).cost_usd == pytest.approx(2 * session_price(sure, HOUR).cost_usd)


def test_spot_counts_the_odds_of_losing_it() -> None:
    spot = session_price(replace(offer(), interruptible=True), HOUR)
    assert spot.odds == pytest.approx(session_price(offer(), HOUR).odds * SPOT_ODDS)
    assert spot.by_terms.odds == terms_of(offer()).odds


def test_disk_is_paid_while_it_is_there_and_traffic_once() -> None:
    plain = replace(offer(price=0.0), boot_odds=1.0)
    disk = replace(plain, disk_usd_per_gib_hour=0.001)
    traffic = replace(plain, traffic_usd_per_gib=0.01)
    assert session_price(plain, HOUR, weights_gib=100).cost_usd == 0
    hours = (session_price(disk, HOUR, weights_gib=100).start_s + 4500) / 3600
    assert session_price(disk, HOUR, weights_gib=100).cost_usd == pytest.approx(0.001 * 130 * hours)
    assert session_price(traffic, HOUR, weights_gib=100).cost_usd == pytest.approx(0.01 * 110)
    seldom = replace(traffic, boot_odds=0.5)
    assert session_price(seldom, HOUR, weights_gib=100).traffic_usd == pytest.approx(0.01 * 110)


def test_lambda_bills_whole_minutes_from_the_health_check_on() -> None:
    machine = replace(offer("lambda", Kind.VM, price=60.0), boot_odds=1.0)
    price = session_price(machine, HOUR)
    minutes = price.cost_usd
    assert minutes == pytest.approx(round(minutes))
    assert minutes * 60 < price.start_s + 4500


def test_several_gpus_take_lambda_longer_to_boot() -> None:
    one, eight = (session_price(offer("lambda", Kind.VM, count=count), HOUR).start_s for count in (1, 8))
    assert eight - one > 300


def test_modal_downloads_no_image_and_starts_sooner_than_a_pod() -> None:
    serverless = session_price(offer("modal", Kind.SERVERLESS), HOUR, weights_gib=15)
    assert serverless.start_s < session_price(offer(), HOUR, weights_gib=15).start_s


def test_vast_does_not_bill_the_gpu_while_it_pulls_the_image() -> None:
    pod = replace(offer("vast", price=3.6), boot_odds=1.0)
    price = session_price(pod, HOUR)
    assert price.cost_usd < (price.start_s + 4500) * 0.001


def test_an_engine_without_graphs_starts_sooner() -> None:
    assert session_price(offer(), HOUR, enforce_eager=True).start_s < session_price(offer(), HOUR).start_s


def test_a_cloud_that_nobody_knows_has_cautious_terms() -> None:
    known = [terms_of(offer(name, kind)) for name, kind in (("runpod", Kind.POD), ("modal", Kind.SERVERLESS))]
    stranger = terms_of(offer("somebody", Kind.POD))
    assert all(stranger.odds <= terms.odds for terms in known)
    assert stranger.boot_is_billed
    assert stranger.image_is_billed


@given(PRICES, PRICES, TIMES, st.floats(0, 1000))
def test_a_dearer_hour_never_makes_a_cheaper_session(
    one: float, other: float, use_s: float, weights_gib: float
) -> None:
    session = Session(use_s=use_s)
    low, high = sorted((one, other))
    cheap, dear = (session_price(offer(price=price), session, weights_gib=weights_gib) for price in (low, high))
    assert cheap.cost_usd <= dear.cost_usd
    assert cheap.start_s == dear.start_s


@given(st.sampled_from(["runpod", "vast", "lambda", "modal", "local", "other"]), TIMES, TIMES, TIMES)
def test_a_longer_session_never_costs_less(provider: str, one: float, other: float, idle_s: float) -> None:
    kind = {"lambda": Kind.VM, "modal": Kind.SERVERLESS, "local": Kind.PROCESS}.get(provider, Kind.POD)
    short, long = sorted((one, other))
    costs = [session_price(offer(provider, kind), Session(use_s, idle_s)).cost_usd for use_s in (short, long)]
    assert costs[0] <= costs[1]


def experience(sold: Offer, boot: float = 1.0, load: float = 1.0, **seen: bool) -> Expectations:
    """Of so many starts on it that the terms hardly matter, with times that were so much of what these say."""
    by_terms = session_price(sold, HOUR, weights_gib=15).by_terms
    times = {"boot_s": boot * by_terms.boot_s, "load_s": load * by_terms.load_s}
    place = (sold.provider, sold.kind, sold.gpu, sold.gpu_count, sold.region, sold.host)
    return learnt([PastStart(*place, at=0.0, expected=by_terms, **times, **seen)] * 10_000, now=0.0)


@pytest.mark.parametrize(("provider", "kind"), [("runpod", Kind.POD), ("vast", Kind.POD), ("lambda", Kind.VM)])
def test_a_start_is_expected_as_those_before_it_went(provider: str, kind: Kind) -> None:
    sold = offer(provider, kind)
    by_terms = session_price(sold, HOUR, weights_gib=15)
    seen = session_price(sold, HOUR, weights_gib=15, expectations=experience(sold, boot=3.0, load=0.5))
    assert seen.start_s == pytest.approx(3 * by_terms.by_terms.boot_s + 0.5 * by_terms.by_terms.load_s, rel=0.001)
    assert (seen.by_terms, seen.learnt.starts) == (by_terms.by_terms, 10_000)
    assert by_terms.learnt == Correction()


def test_what_is_known_of_one_model_holds_for_a_larger_one() -> None:
    sold = offer()
    slow = experience(sold, load=2.0)
    small, large = (session_price(sold, HOUR, weights_gib=gib, expectations=slow) for gib in (15, 140))
    expected = session_price(sold, HOUR, weights_gib=140).by_terms
    assert large.start_s == pytest.approx(expected.boot_s + 2 * expected.load_s, rel=0.001)
    assert large.start_s > 2 * small.start_s


def test_a_slow_boot_costs_only_where_it_is_billed() -> None:
    for provider, is_billed in (("runpod", True), ("vast", False)):
        sold = replace(offer(provider, price=3.6), boot_odds=1.0)
        usual = session_price(sold, HOUR, weights_gib=15)
        slow = session_price(sold, HOUR, weights_gib=15, expectations=experience(sold, boot=3.0))
        more_s = slow.start_s - usual.start_s
        assert slow.cost_usd - usual.cost_usd == pytest.approx(0.001 * more_s * is_billed, abs=0.002)


def test_what_failed_before_or_was_taken_back_costs_more() -> None:
    spot = replace(offer(), interruptible=True)
    usual = session_price(spot, HOUR).cost_usd
    assert session_price(spot, HOUR, expectations=experience(spot, came_up=False)).cost_usd > 2 * usual
    assert session_price(spot, HOUR, expectations=experience(spot, kept=False)).cost_usd > 2 * usual
    assert session_price(spot, HOUR, expectations=experience(spot, came_up=True, kept=True)).cost_usd < usual


def test_an_expectation_is_of_a_place_and_leaves_others_alone() -> None:
    other = offer("lambda", Kind.VM)
    assert session_price(other, HOUR, expectations=experience(offer(), boot=3.0)) == session_price(other, HOUR)
