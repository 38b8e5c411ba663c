import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, Shy, deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.teardown import LONGEST_PAUSE_S, VERIFY_DEADLINE_S, end_on_request, finish, tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_providers.errors import AuthError, ProviderError, ProviderUnavailable, RateLimited


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    yield fleet
    fleet.store.close()


def running(fleet: Fleet, cloud: Cloud, state: State = State.READY) -> str:
    """One on record and at the cloud, with its key; its resource name."""
    fleet.store.add(deployment(state=state))
    cloud.add("gpu-tiny-1")
    fleet.keys.create("gpu-tiny-1")
    return "gpu-tiny-1"


def test_what_is_torn_down_is_gone_at_the_cloud_and_on_record_and_so_is_its_key(fleet: Fleet, cloud: Cloud) -> None:
    name = running(fleet, cloud)
    ended = tear_down(fleet, fleet.store.get(name), "idle")
    assert (ended.state, ended.reason, ended.ended_at) == (State.GONE, "idle", NOW)
    assert cloud.resources == {}
    assert fleet.keys.read(name) is None
    states = [event.state for event in fleet.store.events(name)]
    assert states == [State.READY, State.TERMINATING, State.GONE]


def test_tearing_down_twice_is_no_error_and_keeps_the_first_reason(fleet: Fleet, cloud: Cloud) -> None:
    before = fleet.store.get(running(fleet, cloud))
    first = tear_down(fleet, before, "idle")
    assert tear_down(fleet, before, "deadline") == first
    assert cloud.terminated == ["id-gpu-tiny-1"]


def test_only_the_clouds_word_means_gone(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    name = running(fleet, cloud)
    cloud.terminates = False
    with pytest.raises(UserError) as unconfirmed:
        tear_down(fleet, fleet.store.get(name), "idle")
    assert unconfirmed.value.exit_status is Exit.CLEANUP_UNCONFIRMED
    assert unconfirmed.value.still_billing == (name,)
    assert fleet.store.get(name).state is State.TERMINATING
    assert fleet.keys.read(name), "it may be needed until it is gone"
    assert clock.now() - NOW == pytest.approx(VERIFY_DEADLINE_S, abs=2)


def test_a_cloud_that_cannot_be_reached_is_asked_again_until_it_answers(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    name = running(fleet, cloud)
    cloud.trouble = ProviderUnavailable("502")

    def mend() -> None:
        if clock.now() > NOW + 60:
            cloud.trouble = None

    clock.on_sleep = mend
    assert tear_down(fleet, fleet.store.get(name), "idle").state is State.GONE
    assert cloud.resources == {}


def test_a_rate_limit_is_obeyed(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    name = running(fleet, cloud)
    cloud.trouble = RateLimited("slow down", retry_after_s=45.0)
    waits: list[float] = []

    def mend() -> None:
        waits.append(clock.now() - NOW)
        cloud.trouble = None

    clock.on_sleep = mend
    tear_down(fleet, fleet.store.get(name), "idle")
    assert waits[0] == 45.0


def test_patience_with_a_cloud_that_bills_meanwhile_has_an_end(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    name = running(fleet, cloud)
    cloud.trouble = RateLimited("slow down", retry_after_s=86_400.0)
    with pytest.raises(UserError, match="slow down"):
        tear_down(fleet, fleet.store.get(name), "idle")
    assert clock.now() - NOW <= VERIFY_DEADLINE_S + LONGEST_PAUSE_S


def test_a_cloud_that_wants_no_pause_is_not_pestered(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    name = running(fleet, cloud)
    cloud.trouble = RateLimited("slow down", retry_after_s=0.0)
    waits: list[float] = []
    clock.on_sleep = lambda: waits.append(clock.now() - NOW)
    with pytest.raises(UserError):
        tear_down(fleet, fleet.store.get(name), "idle")
    assert waits[0] >= cloud.poll_interval_s


@pytest.mark.parametrize("error", [ProviderUnavailable("500"), RateLimited("429", retry_after_s=9.0), AuthError("403")])
def test_what_is_gone_is_gone_whatever_was_answered_to_its_end(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, error: ProviderError
) -> None:
    name = running(fleet, cloud)
    terminate = cloud.terminate

    def work_and_complain(resource_id: str) -> None:
        terminate(resource_id)
        raise error

    cloud.terminate = work_and_complain  # type: ignore[method-assign]
    assert tear_down(fleet, fleet.store.get(name), "idle").state is State.GONE
    assert clock.now() == NOW


def test_a_second_resource_of_the_name_is_ended_as_well(fleet: Fleet, cloud: Cloud) -> None:
    name = running(fleet, cloud)
    double = replace(cloud.resources[name], resource_id="id-double")
    cloud.resources["double"] = double
    cloud.find = lambda _: next(iter(cloud.resources.values()), None)  # type: ignore[method-assign]
    tear_down(fleet, fleet.store.get(name), "idle")
    assert cloud.resources == {}


def test_a_list_that_cannot_be_had_does_not_unmake_the_end_that_is_proven(fleet: Fleet, cloud: Cloud) -> None:
    name = running(fleet, cloud)

    def refuse(_: str) -> None:
        raise AuthError("this key may not list")

    cloud.find = refuse  # type: ignore[method-assign]
    assert tear_down(fleet, fleet.store.get(name), "idle").state is State.GONE


def test_what_is_unknown_is_searched_for_until_the_lists_have_caught_up_with_this_moment(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    cloud.list_lag_s = 30.0
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id=""))
    clock.time += 120  # the cloud was busy, and the create was sent a moment ago
    clock.on_sleep = lambda: cloud.add("gpu-tiny-1") if clock.now() >= NOW + 145 and not cloud.terminated else None
    tear_down(fleet, fleet.store.get("gpu-tiny-1"), "interrupted")
    assert cloud.terminated == ["id-gpu-tiny-1"]
    assert cloud.resources == {}


def test_for_what_no_cloud_was_asked_for_no_cloud_is_asked(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(state=State.PLANNED, resource_id="", launched_at=None, ready_at=None))
    cloud.trouble = AuthError("there is no key")
    assert tear_down(fleet, fleet.store.get("gpu-tiny-1"), "interrupted").state is State.FAILED


def test_a_resource_whose_id_never_reached_us_is_found_by_its_name(fleet: Fleet, cloud: Cloud) -> None:
    cloud.add("gpu-tiny-1")
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id=""))
    ended = tear_down(fleet, fleet.store.get("gpu-tiny-1"), "interrupted")
    assert ended.state is State.FAILED
    assert cloud.resources == {}


def test_a_caller_with_an_old_view_ends_what_has_moved_on_meanwhile(fleet: Fleet, cloud: Cloud) -> None:
    name = running(fleet, cloud, State.LOADING)
    old = fleet.store.get(name)
    fleet.store.move(old, State.READY, at=NOW)
    assert tear_down(fleet, old, "gpu down").state is State.GONE
    assert cloud.resources == {}


def test_a_record_that_cannot_be_written_does_not_keep_it_running(fleet: Fleet, cloud: Cloud) -> None:
    ready = fleet.store.get(running(fleet, cloud))
    with closing(sqlite3.connect(fleet.store.path)) as connection:
        connection.execute("DROP TABLE events")
    with pytest.raises(UserError) as unwritable:
        tear_down(fleet, ready, "idle")
    assert unwritable.value.code == "state-unwritable"
    assert cloud.resources == {}


def test_what_ended_before_it_was_ready_has_failed_whoever_writes_it_down(fleet: Fleet) -> None:
    fleet.store.add(deployment(state=State.TERMINATING, ready_at=None, reason="context-too-long"))
    assert finish(fleet, fleet.store.get("gpu-tiny-1")).state is State.FAILED


def test_what_the_user_ended_has_not_failed(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(state=State.LOADING, ready_at=None))
    assert end_on_request(fleet, fleet.store.get("gpu-tiny-1")).state is State.GONE


def test_down_waits_for_a_create_that_another_process_has_under_way(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id=""))
    lock = fleet.launch_lock("tiny")
    assert lock.try_acquire()

    def create_after_a_while() -> None:
        if clock.now() > NOW + 3:
            cloud.add("gpu-tiny-1")
            lock.release()

    clock.on_sleep = create_after_a_while
    ended = end_on_request(fleet, fleet.store.get("gpu-tiny-1"))
    assert ended.state is State.GONE
    assert cloud.terminated == ["id-gpu-tiny-1"]
    assert cloud.resources == {}


def test_finishing_what_another_process_has_finished_answers_how_it_ended(fleet: Fleet) -> None:
    fleet.store.add(deployment(state=State.TERMINATING, reason="idle"))
    old = fleet.store.get("gpu-tiny-1")
    first = finish(fleet, old)
    assert finish(fleet, old, reason="something else") == first


def test_who_sees_it_gone_before_the_one_that_ends_it_keeps_the_reason(fleet: Fleet) -> None:
    fleet.store.add(deployment())
    old = fleet.store.get("gpu-tiny-1")
    fleet.store.move(old, State.TERMINATING, at=NOW, reason="engine-died: killed by SIGKILL")
    seen = finish(fleet, old, reason="ended outside gpu")
    assert (seen.state, seen.reason) == (State.FAILED, "engine-died: killed by SIGKILL")


def test_what_another_account_does_not_see_is_not_gone(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(account="mine"))
    cloud.credentials = "theirs"
    with pytest.raises(UserError) as refused:
        tear_down(fleet, fleet.store.get("gpu-tiny-1"), "idle")
    assert refused.value.exit_status is Exit.CLEANUP_UNCONFIRMED
    assert "other credentials of cloud" in refused.value.message
    assert fleet.store.get("gpu-tiny-1").is_live


def test_a_new_key_of_the_same_account_ends_what_the_old_one_made(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(account="old key"))
    cloud.add("gpu-tiny-1")
    cloud.credentials = "new key"
    assert tear_down(fleet, fleet.store.get("gpu-tiny-1"), "idle").state is State.GONE
    assert cloud.resources == {}


@pytest.mark.parametrize("create_took_s", [0, 300])
def test_what_the_cloud_does_not_show_yet_is_ended_all_the_same(
    tmp_path: Path, clock: FakeClock, create_took_s: float
) -> None:
    cloud = Shy(clock)
    fleet = make_fleet(tmp_path, cloud, clock)
    launching = deployment(state=State.LAUNCHING, ready_at=None)
    fleet.store.add(launching)
    clock.time += create_took_s
    cloud.add("gpu-tiny-1")
    booting = fleet.store.move(launching, State.BOOTING, at=clock.now())
    assert tear_down(fleet, booting, "interrupted").state is State.FAILED
    assert cloud.resources == {}
    fleet.store.close()


def test_what_has_long_gone_by_itself_is_not_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    fleet = make_fleet(tmp_path, Shy(clock), clock)
    fleet.store.add(deployment(state=State.LOADING, ready_at=None))
    clock.time += Shy.list_lag_s
    tear_down(fleet, fleet.store.get("gpu-tiny-1"), "gpu down")
    assert clock.now() == NOW + Shy.list_lag_s
    fleet.store.close()


@pytest.mark.parametrize("slow", [False, True])
def test_the_end_of_what_the_cloud_has_shown_is_believed_at_once(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, slow: bool
) -> None:
    """However young it is: a list that has shown it does not hide it again."""
    cloud.list_lag_s = 30.0
    fleet.store.add(deployment(state=State.BOOTING, ready_at=None))
    cloud.add("gpu-tiny-1")
    cloud.terminates = not slow
    clock.on_sleep = cloud.resources.clear
    tear_down(fleet, fleet.store.get("gpu-tiny-1"), "gpu down")
    assert clock.now() == NOW + slow * cloud.poll_interval_s
    assert cloud.resources == {}


def test_what_another_process_has_seen_go_is_not_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    fleet = make_fleet(tmp_path, Shy(clock), clock)
    fleet.store.add(deployment(state=State.BOOTING, ready_at=None))

    def end() -> None:
        finish(fleet, fleet.store.get("gpu-tiny-1"))

    clock.on_sleep = end
    assert tear_down(fleet, fleet.store.get("gpu-tiny-1"), "gpu down").state is State.GONE
    assert clock.now() < NOW + Shy.list_lag_s / 2
    fleet.store.close()


def test_what_its_cloud_refuses_to_end_is_metered_at_what_it_bills_meanwhile(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    """Booting, it bills its disk alone; then it runs, and still cannot be ended."""
    fleet.store.add(deployment(state=State.BOOTING, ready_at=None))
    booting = replace(cloud.add("gpu-tiny-1"), price_usd_per_hour=0.2, full_price_usd_per_hour=2.0)
    cloud.resources["gpu-tiny-1"], cloud.terminates = booting, False

    def go_on() -> None:
        if clock.now() >= NOW + 100:
            cloud.resources["gpu-tiny-1"] = replace(booting, price_usd_per_hour=2.0)
        cloud.terminates = clock.now() >= NOW + 200

    clock.on_sleep = go_on
    ended = tear_down(fleet, fleet.store.get("gpu-tiny-1"), "interrupted")
    assert ended.spent_usd(clock.now()) == pytest.approx((100 * 0.2 + 100 * 2.0) / 3600, rel=0.02)


def test_what_was_ordered_and_never_made_has_cost_nothing(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    cloud.list_lag_s = 60.0
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id="", ready_at=None))
    clock.time += 3600
    ended = tear_down(fleet, fleet.store.get("gpu-tiny-1"), "the command that launched it was killed")
    assert ended.state is State.FAILED
    assert ended.spent_usd(clock.now()) == 0
    assert fleet.store.get("gpu-tiny-1").spent_usd(clock.now()) == 0


def test_what_was_found_by_its_name_alone_has_cost_its_time(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    cloud.add("gpu-tiny-1")
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id="", ready_at=None))
    clock.time += 3600
    ended = tear_down(fleet, fleet.store.get("gpu-tiny-1"), "the command that launched it was killed")
    assert ended.spent_usd(clock.now()) == pytest.approx(2.0)


def test_a_second_one_of_its_name_is_not_metered_for_it(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    other = replace(cloud.add("gpu-tiny-1"), resource_id="id-second", price_usd_per_hour=50.0)
    cloud.resources["gpu-tiny-1"], cloud.terminates = other, False
    fleet.store.add(deployment())
    clock.on_sleep = lambda: setattr(cloud, "terminates", clock.now() >= NOW + 60)
    ended = tear_down(fleet, fleet.store.get("gpu-tiny-1"), "idle")
    assert ended.spent_usd(clock.now()) == pytest.approx(2.0 * 60 / 3600)
