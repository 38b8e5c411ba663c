"""What the journal tells of our starts, and what of it counts for the next one."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, deployment, make_fleet
from sellers import offer

from gpu_cli import __version__
from gpu_cli.config.settings import Settings, resolve_limits
from gpu_cli.fleet.deployment import ON_REQUEST, Deployment, State
from gpu_cli.fleet.end.spot import TAKEN_BACK
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch.failover import launch
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import FAILURES
from gpu_cli.fleet.market.experience import (
    HOSTS_FAULT,
    LEAST_LOAD_S,
    LOST,
    UNEXPLAINED,
    WORKED,
    expectations,
    keep_expected,
    starts,
)
from gpu_cli.fleet.market.planning import Wish
from gpu_cli.locks import Lock, released
from gpu_cli.planner.offers.expectations import LEARNT_FROM_S, Correction
from gpu_cli.planner.rank import rank
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Offer

RECIPE = parse_recipe("model: A/B\ngpu: {names: [H100]}\nspot: true\n", Path("/r.yaml"), shown="r.yaml")
SOLD = replace(offer("cloud"), host="m1")
SPOT = replace(SOLD, interruptible=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path)
    yield fleet
    fleet.store.close()


def ordered(fleet: Fleet, sold: Offer = SOLD, digest: str = "digest") -> Deployment:
    """On record, and asked of its cloud."""
    number = len(fleet.store.rows("SELECT 1 FROM deployments"))
    made = deployment(
        f"d{number}",
        State.PLANNED,
        provider=sold.provider,
        kind=sold.kind,
        region=sold.region,
        host=sold.host,
        recipe_digest=digest,
        created_at=fleet.clock.now(),
        launched_at=None,
        ready_at=None,
        active_at=None,
    )
    fleet.store.add(made)
    plan = rank(RECIPE, [sold], None, filters=Wish.to_launch(fleet, wanted()).filters)
    keep_expected(fleet.store, made.resource_name, plan.candidates[0])
    now = fleet.clock.now()
    return fleet.store.move(made, State.LAUNCHING, at=now, launched_at=now)


def wanted() -> Wanted:
    return Wanted(RECIPE, "r", resolve_limits(Settings({}, ()), RECIPE, {}))


def booted(fleet: Fleet, made: Deployment, boot_s: float) -> Deployment:
    """The engine has spoken."""
    made = fleet.store.move(made, State.BOOTING, at=fleet.clock.now())
    fleet.clock.sleep(boot_s)
    return fleet.store.move(made, State.LOADING, at=fleet.clock.now())


def ready(fleet: Fleet, made: Deployment, boot_s: float = 100.0, load_s: float = 200.0) -> Deployment:
    made = booted(fleet, made, boot_s)
    fleet.clock.sleep(load_s)
    return fleet.store.move(made, State.READY, at=fleet.clock.now(), ready_at=fleet.clock.now())


def ended(fleet: Fleet, made: Deployment, reason: str, failure: str = "", **changes: object) -> None:
    now = fleet.clock.now()
    fleet.store.update(made.resource_name, failure=failure, reason=reason, **changes)
    to = State.GONE if reason == ON_REQUEST else State.FAILED
    fleet.store.move(fleet.store.get(made.resource_name), to, at=now, ended_at=now)


def correction(fleet: Fleet, sold: Offer = SOLD) -> Correction:
    return expectations(fleet).at(sold)


def test_each_stage_of_a_start_is_measured_from_the_order_on(fleet: Fleet) -> None:
    ready(fleet, ordered(fleet), boot_s=100.0, load_s=200.0)
    (seen,) = starts(fleet.store)
    assert (seen.boot_s, seen.load_s, seen.whole_s, seen.outcome) == (100.0, 200.0, 300.0, WORKED)
    assert (seen.provider, seen.gpu, seen.region, seen.host, seen.at) == ("cloud", "H100", "eu", "m1", NOW)
    assert correction(fleet).starts == 1


def test_what_is_under_way_is_no_start_yet_nor_what_was_never_ordered(fleet: Fleet) -> None:
    booted(fleet, ordered(fleet), 60.0)
    never = deployment("never", State.PLANNED, launched_at=None, ready_at=None)
    fleet.store.add(never)
    fleet.store.move(never, State.FAILED, at=NOW, ended_at=NOW)
    assert starts(fleet.store) == []
    assert correction(fleet) == Correction()


def test_a_refused_order_is_a_start_that_failed_and_says_nothing_of_the_machine(fleet: Fleet) -> None:
    ended(fleet, ordered(fleet), "sold out", "no-capacity", launched_at=None)
    assert [seen.outcome for seen in starts(fleet.store)] == ["no-capacity"]
    assert correction(fleet) == Correction()


@pytest.mark.parametrize(
    ("failure", "reason", "counts"),
    [
        ("host-failed", "no progress", True),
        ("out-of-memory", "CUDA out of memory", False),
        ("engine-failed", "bad flag", False),
        ("credentials", "refused", False),
        ("unavailable", "status 503", False),
        ("", ON_REQUEST, False),
        ("", "interrupted", False),
    ],
)
def test_only_what_the_machine_has_done_counts_against_it(
    fleet: Fleet, failure: str, reason: str, counts: bool
) -> None:
    ended(fleet, ordered(fleet), reason, failure)
    assert [seen.outcome for seen in starts(fleet.store)] == [failure]
    assert (correction(fleet).odds < 0) is counts


def test_the_words_that_speak_against_a_machine_are_the_policys() -> None:
    assert {HOSTS_FAULT, UNEXPLAINED} <= {failure.word for failure in FAILURES}


def test_a_crash_that_nobody_can_explain_counts_only_where_the_recipe_has_worked(fleet: Fleet) -> None:
    ended(fleet, ordered(fleet, digest="one"), "its command ends", "crashed")
    assert correction(fleet).odds == 0
    ready(fleet, ordered(fleet, replace(SOLD, provider="elsewhere"), digest="one"))
    assert correction(fleet).odds < 0


def test_the_boot_before_a_failure_was_a_boot_all_the_same(fleet: Fleet) -> None:
    ended(fleet, booted(fleet, ordered(fleet), 500.0), "CUDA out of memory", "out-of-memory")
    (seen,) = starts(fleet.store)
    assert (seen.boot_s, seen.load_s, seen.whole_s) == (500.0, None, None)
    assert correction(fleet).boot > 0
    assert correction(fleet).load == 0


def test_where_the_engine_was_not_heard_before_it_answered_only_the_whole_start_is_known(fleet: Fleet) -> None:
    ready(fleet, ordered(fleet), boot_s=3000.0, load_s=LEAST_LOAD_S / 2)
    (seen,) = starts(fleet.store)
    assert (seen.boot_s, seen.load_s, seen.whole_s) == (None, None, 3000.0 + LEAST_LOAD_S / 2)
    assert correction(fleet).boot == pytest.approx(correction(fleet).load)
    assert correction(fleet).boot > 0


def test_a_machine_that_broke_later_counts_against_it_and_a_deployment_that_was_ended_for_it(fleet: Fleet) -> None:
    ended(fleet, ready(fleet, ordered(fleet)), ON_REQUEST)
    kept = correction(fleet)
    ended(fleet, ready(fleet, ordered(fleet)), "cloud says: exited")
    assert [seen.outcome for seen in starts(fleet.store)] == [WORKED, LOST]
    assert correction(fleet).odds < 0 < kept.odds


def test_what_was_taken_back_came_up_and_was_not_kept(fleet: Fleet) -> None:
    ended(fleet, ready(fleet, ordered(fleet, SPOT)), f"{TAKEN_BACK}: outbid")
    assert [seen.outcome for seen in starts(fleet.store)] == [LOST]
    assert correction(fleet).odds > 0 > correction(fleet).kept
    before, running = correction(fleet).kept, ready(fleet, ordered(fleet, SPOT))
    assert correction(fleet).kept == pytest.approx(before, rel=1e-3)  # of one that still runs nobody knows
    ended(fleet, running, "idle")
    assert correction(fleet).kept > before


def test_what_another_machine_has_launched_is_no_start_of_this_one(fleet: Fleet) -> None:
    fleet.store.add(deployment("adopted"))
    assert starts(fleet.store) == []


def test_starts_of_long_ago_are_not_even_read(fleet: Fleet) -> None:
    ready(fleet, ordered(fleet))
    fleet.clock.sleep(LEARNT_FROM_S + 3600)
    assert correction(fleet) == Correction()
    assert len(starts(fleet.store)) == 1


def test_what_is_launched_is_ranked_with_what_was_learnt_and_what_is_replayed_is_not(fleet: Fleet) -> None:
    ready(fleet, ordered(fleet), boot_s=3000.0)
    fleet.store.avoid_host("cloud", "m2", until=NOW + 1e6, reason="exited")
    assert Wish.to_launch(fleet, wanted()).expectations.at(SOLD).boot > 0
    assert Wish.to_launch(fleet, wanted()).filters.bad_hosts
    replayed = Wish.to_replay(wanted())
    assert replayed.expectations.at(SOLD) == Correction()
    assert not replayed.filters.bad_hosts


def test_a_plan_asks_for_what_the_user_said(fleet: Fleet) -> None:
    said = replace(wanted(), use_s=7200.0, region="eu")
    for wish in (Wish.to_launch(fleet, said), Wish.to_replay(said)):
        assert (wish.session.use_s, wish.session.idle_s, wish.filters.region) == (7200.0, said.limits.idle_s, "eu")
        assert (wish.filters.spot, wish.optimize) == (True, said.optimize)


def test_a_launch_keeps_what_was_expected_of_it(fleet: Fleet) -> None:
    with released(Lock(lock_path(fleet.paths))) as guard:  # one is at work, as far as anyone can tell
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        plan = rank(RECIPE, [SPOT], None, filters=Wish.to_launch(fleet, wanted()).filters)
        made = launch(fleet, replace(wanted(), wait=False, yes=True), plan.candidates, Silent(), [])
    (row,) = fleet.store.rows("SELECT * FROM expected_starts")
    expected = plan.candidates[0].session.by_terms
    assert tuple(row) == (made.resource_name, expected.boot_s, expected.load_s, expected.odds, True)
