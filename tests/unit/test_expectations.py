"""What our own starts make of the clouds' terms: how much of it, where, and for how long."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.planner.offers.cloud_terms import SPOT_ODDS
from gpu_cli.planner.offers.expectations import (
    HALF_LIFE_S,
    LEAST_ODDS,
    NOTHING_LEARNT,
    ODDS_PRIOR,
    TIMES_PRIOR,
    WORST_RATIO,
    Correction,
    Expected,
    PastStart,
    learnt,
)
from gpu_providers.base import Kind, Offer

NOW = 1_800_000_000.0
TERMS = Expected(boot_s=100.0, load_s=200.0, odds=0.9)
HERE = Offer(
    "vast", Kind.POD, "1", "H100", 1, 79.2, "Texas, US", 2.0, {"gpu": 2.0}, datetime.fromtimestamp(NOW, UTC), host="m1"
)
NEARER_FIRST = (
    HERE,
    replace(HERE, host="m2"),
    replace(HERE, host="m2", region="Oslo, NO"),
    replace(HERE, host="m2", region="Oslo, NO", gpu="L4"),
    replace(HERE, provider="runpod"),
)
"""The place of all starts here, and others ever further from it."""


def start(at: float = NOW, **seen: object) -> PastStart:
    """One at `HERE`."""
    made = PastStart("vast", Kind.POD, "H100", 1, "Texas, US", "m1", at, TERMS)
    return replace(made, **seen)  # type: ignore[arg-type]  # the caller names fields


STARTS = st.builds(
    start,
    at=st.floats(NOW - 1e8, NOW + 1e6),
    expected=st.builds(Expected, st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0.05, 1)),
    boot_s=st.none() | st.floats(-1e6, 1e6),
    load_s=st.none() | st.floats(-1e6, 1e6),
    came_up=st.none() | st.booleans(),
    kept=st.none() | st.booleans(),
    host=st.sampled_from(["", "m1", "m2"]),
    region=st.sampled_from(["", "Texas, US"]),
)


def test_before_any_start_the_terms_are_right() -> None:
    assert NOTHING_LEARNT.at(HERE) == learnt([], NOW).at(HERE) == Correction()
    assert Correction().of(TERMS) == TERMS


def test_one_start_moves_the_cloud_by_its_share_beside_the_imagined_ones() -> None:
    elsewhere = replace(HERE, gpu="L4", host="")
    correction = learnt([start(boot_s=200.0, load_s=100.0)], NOW).at(elsewhere)
    share = 1 / (1 + TIMES_PRIOR)
    assert correction.of(TERMS).boot_s == pytest.approx(100 * (1 + share))
    assert correction.of(TERMS).load_s == pytest.approx(200 * (1 - share / 2))
    assert (correction.starts, correction.where) == (1, "at this cloud")


@pytest.mark.parametrize(("worked", "failed"), [(0, 1), (1, 0), (3, 7), (20, 2)])
def test_odds_are_the_mean_of_a_beta_distribution(worked: int, failed: int) -> None:
    seen = [start(came_up=True)] * worked + [start(came_up=False)] * failed
    correction = learnt(seen, NOW).at(replace(HERE, gpu="L4", host=""))
    expected = (ODDS_PRIOR * TERMS.odds + worked) / (ODDS_PRIOR + worked + failed)
    assert correction.of(TERMS).odds == pytest.approx(expected)


def test_a_nearer_place_learns_more_from_the_same_starts_and_another_cloud_nothing() -> None:
    expectations = learnt([start(boot_s=400.0, load_s=300.0, came_up=False)] * 2, NOW)
    found = [expectations.at(offer).of(TERMS) for offer in NEARER_FIRST]
    assert found == sorted(found, key=lambda expected: (-expected.boot_s, -expected.load_s, expected.odds))
    assert len(set(found)) == len(found)
    assert found[-1] == TERMS
    assert [expectations.at(offer).where for offer in NEARER_FIRST] == [
        "on this host",
        "in this region",
        "with these GPUs",
        "at this cloud",
        "",
    ]


def test_another_kind_of_the_same_cloud_is_another_place() -> None:
    assert learnt([start(boot_s=400.0)], NOW).at(replace(HERE, kind=Kind.SERVERLESS)) == Correction()


def test_what_its_cloud_does_not_name_is_no_place_of_its_own() -> None:
    nameless = replace(HERE, region="", host="")
    correction = learnt([start(region="", host="", boot_s=200.0)], NOW).at(nameless)
    assert correction.where == "with these GPUs"
    assert correction == learnt([start(boot_s=200.0)], NOW).at(nameless)


def test_many_starts_of_our_own_outweigh_the_terms() -> None:
    correction = learnt([start(boot_s=300.0, came_up=True)] * 100, NOW).at(HERE)
    assert correction.of(TERMS).boot_s == pytest.approx(300, rel=0.01)
    assert correction.of(TERMS).odds == pytest.approx(1, rel=0.02)


def test_a_start_counts_half_after_the_half_life_and_one_from_the_future_not_more_than_one_of_now() -> None:
    two_old = learnt([start(NOW - HALF_LIFE_S, boot_s=200.0)] * 2, NOW).at(HERE)
    one_new = learnt([start(boot_s=200.0)], NOW).at(HERE)
    assert two_old[:4] == pytest.approx(one_new[:4])
    assert learnt([start(NOW + HALF_LIFE_S, boot_s=200.0)], NOW).at(HERE) == one_new


def test_an_offer_keeps_its_own_line_and_odds_whatever_is_learnt_about_all_of_them() -> None:
    correction = learnt([start(boot_s=200.0, came_up=False)], NOW).at(HERE)
    slow, fast = (correction.of(Expected(boot_s, 200, odds)) for boot_s, odds in ((300, 0.7), (100, 0.95)))
    assert slow.boot_s == pytest.approx(3 * fast.boot_s)
    assert fast.odds - slow.odds == pytest.approx(0.25)


def test_a_machine_that_slept_meanwhile_does_not_measure_days() -> None:
    slept = learnt([start(boot_s=86_400.0)], NOW).at(HERE)
    assert slept == learnt([start(boot_s=WORST_RATIO * TERMS.boot_s)], NOW).at(HERE)


def test_what_was_taken_back_is_expected_to_be_taken_back_sooner() -> None:
    taken, kept = (learnt([start(kept=kept)], NOW).at(replace(HERE, gpu="L4", host="")) for kept in (False, True))
    assert taken.kept == pytest.approx(-SPOT_ODDS / (ODDS_PRIOR + 1))
    assert kept.kept == pytest.approx((1 - SPOT_ODDS) / (ODDS_PRIOR + 1))


def test_what_has_always_failed_is_still_worth_a_try_some_day() -> None:
    assert learnt([start(came_up=False)] * 1000, NOW).at(HERE).of(TERMS).odds == pytest.approx(LEAST_ODDS * TERMS.odds)


@given(st.lists(STARTS, max_size=8), st.sampled_from(NEARER_FIRST), st.randoms())
def test_whatever_was_seen_expectations_make_sense_and_do_not_hang_on_its_order(
    starts: list[PastStart], offer: Offer, random: object
) -> None:
    expected = learnt(starts, NOW).at(offer).of(TERMS)
    assert 0 < expected.boot_s <= WORST_RATIO * TERMS.boot_s
    assert 0 < expected.load_s <= WORST_RATIO * TERMS.load_s
    assert LEAST_ODDS * TERMS.odds <= expected.odds <= 1
    random.shuffle(starts)  # type: ignore[attr-defined]
    assert learnt(starts, NOW).at(offer).of(TERMS) == pytest.approx(expected)
