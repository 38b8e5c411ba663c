from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, Shy, deployment, make_fleet

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.reconcile import ABANDONED, BROKEN, look, why_end, why_not_booting
from gpu_cli.fleet.end.settle import settle
from gpu_cli.fleet.end.spot import Terms, spot_recipes
from gpu_cli.fleet.end.stops import GUARD_GRACE_S
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.hosts import AVOIDED_S
from gpu_cli.recipe.files import parse_recipe
from gpu_providers.base import Boot, Kind, Link, ResourceState
from gpu_providers.errors import HostFailed, InvalidRequest, ProviderError, ProviderUnavailable


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


def test_unreachable_is_not_gone(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.trouble = ProviderUnavailable("502")
    assert look(fleet, deployment()) == (deployment(), None)
    assert fleet.store.live() == [deployment()]


@pytest.mark.parametrize(
    ("state", "line", "ended_as", "reason"),
    [
        (State.READY, "[supervisor] ended reason=idle detail=no work for 600 s", State.GONE, "idle"),
        (State.READY, "[supervisor] ended reason=deadline detail=3600 s since the start", State.GONE, "deadline"),
        (State.READY, "[supervisor] ended reason=terminated detail=signal received", State.GONE, "terminated"),
        (
            State.READY,
            "[supervisor] ended reason=engine-died detail=killed by SIGKILL",
            State.FAILED,
            "engine-died: killed by SIGKILL",
        ),
        (
            State.READY,
            "[supervisor] ended reason=engine-hung detail=metrics silent for 600 s",
            State.FAILED,
            "engine-hung: metrics silent for 600 s",
        ),
        (State.LOADING, "nothing was said", State.FAILED, "ended while it was starting"),
        (State.READY, "nothing was said", State.GONE, "ended outside gpu"),
    ],
)
def test_the_last_words_of_the_supervisor_say_how_it_ended(
    fleet: Fleet, cloud: Cloud, state: State, line: str, ended_as: State, reason: str
) -> None:
    fleet.store.add(deployment(state=state))
    cloud.logged = ["some line", line]
    ended, _ = look(fleet, fleet.store.get("gpu-tiny-1"))
    assert (ended.state, ended.reason, ended.ended_at) == (ended_as, reason, NOW)


def test_an_engine_that_died_is_diagnosed_from_its_log(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.logged = [
        "torch.OutOfMemoryError: CUDA out of memory.",
        "[supervisor] ended reason=engine-died detail=exit status 1",
    ]
    ended, _ = look(fleet, deployment())
    assert ended.reason == "out-of-memory: the GPU ran out of memory"


@pytest.mark.parametrize(
    ("after_s", "active_s", "guess"), [(3600, 3599, "deadline"), (1000, 300, "idle"), (100, 90, "ended outside gpu")]
)
def test_without_last_words_what_was_due_is_the_reason(
    fleet: Fleet, clock: FakeClock, after_s: float, active_s: float, guess: str
) -> None:
    gone = deployment(active_at=NOW + active_s)
    fleet.store.add(gone)
    clock.time = NOW + after_s
    assert look(fleet, gone)[0].reason == guess


def test_a_start_that_its_launcher_watches_is_left_to_the_launcher(fleet: Fleet) -> None:
    starting = deployment(state=State.LOADING, tied=True)
    fleet.store.add(starting)
    lock = fleet.launch_lock("tiny")
    assert lock.try_acquire()
    assert look(fleet, starting) == (starting, None)
    assert why_end(fleet, starting, None) == ""
    lock.release()
    assert why_end(fleet, starting, Cloud().add("gpu-tiny-1")) == ABANDONED
    assert look(fleet, starting)[0].state is State.FAILED


@pytest.mark.parametrize(
    ("changes", "state", "after_s", "why"),
    [
        ({}, ResourceState.RUNNING, 10, ""),
        ({}, ResourceState.BROKEN, 10, "cloud says: EXITED"),
        ({"kind": Kind.PROCESS}, ResourceState.BROKEN, 10, BROKEN),
        ({}, None, 3600, "deadline"),
        ({"budget_usd": 1.0}, ResourceState.RUNNING, 1801, "budget"),
        ({"state": State.LOADING}, ResourceState.RUNNING, 1801, ""),
        ({"state": State.LOADING}, ResourceState.RUNNING, 1800 + GUARD_GRACE_S, "start-deadline"),
        ({"state": State.PLANNED, "launched_at": None}, None, 9999, ""),
        ({"state": State.TERMINATING, "reason": "idle"}, ResourceState.RUNNING, 10, "idle"),
        ({"state": State.TERMINATING, "reason": ""}, ResourceState.RUNNING, 10, "interrupted"),
        ({"state": State.GONE}, None, 9999, ""),
        ({"tied": True}, ResourceState.RUNNING, 10, ABANDONED),
    ],
)
def test_why_something_has_to_end(
    fleet: Fleet, clock: FakeClock, changes: dict[str, object], state: ResourceState | None, after_s: float, why: str
) -> None:
    clock.time = NOW + after_s
    known = deployment(**{"state": State.READY, **changes})  # type: ignore[arg-type]
    fleet.store.add(known)
    resource = replace(Cloud().add(known.resource_name, state), detail="EXITED") if state else None
    assert why_end(fleet, known, resource) == why


def test_a_launcher_that_got_done_since_the_record_was_read_has_not_been_killed(fleet: Fleet) -> None:
    loading = deployment(state=State.LOADING, tied=True)
    fleet.store.add(loading)
    fleet.store.move(loading, State.READY, at=NOW, tied=False)
    assert why_end(fleet, loading, Cloud().add("gpu-tiny-1")) == ""


def test_settling_without_a_guard_ends_what_is_overdue(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    clock.time = NOW + 3600
    assert settle(fleet) == []
    assert cloud.resources == {}
    assert fleet.store.get("gpu-tiny-1").reason == "deadline"


def test_settling_beside_a_guard_leaves_the_ending_to_it(fleet: Fleet, cloud: Cloud, clock: FakeClock) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    clock.time = NOW + 3600
    guard = fleet.launch_lock("guard")
    assert guard.try_acquire()
    assert [one.deployment.state for one in settle(fleet)] == [State.READY]
    guard.release()


def test_another_accounts_word_that_there_is_nothing_says_nothing(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(account="mine"))
    cloud.credentials = "theirs"
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].state is State.READY
    cloud.credentials = "mine"
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].state is State.GONE


def test_what_the_cloud_does_not_show_yet_has_not_ended(tmp_path: Path, clock: FakeClock) -> None:
    fleet = make_fleet(tmp_path, Shy(clock), clock)
    booting = deployment(state=State.BOOTING, ready_at=None)
    fleet.store.add(booting)
    clock.time += Shy.list_lag_s - 1
    assert look(fleet, booting) == (booting, None)
    clock.time += 1
    assert look(fleet, booting)[0].state is State.FAILED
    fleet.store.close()


def test_what_was_ready_has_been_seen_and_ends_at_the_clouds_word(tmp_path: Path, clock: FakeClock) -> None:
    fleet = make_fleet(tmp_path, Shy(clock), clock)
    fleet.store.add(deployment())
    assert not look(fleet, deployment())[0].is_live
    fleet.store.close()


@pytest.mark.parametrize(
    ("state", "charged_usd", "known_usd"),
    [
        (ResourceState.RUNNING, 3.0, 3.0),
        (ResourceState.RUNNING, 0.0, 2.0),
        (ResourceState.STARTING, 0.1, 2.0),
        (ResourceState.BROKEN, 0.1, 2.0),
    ],
    ids=["another price", "none told", "before it runs", "after it ran"],
)
def test_the_price_on_record_is_what_the_cloud_charges_for_what_runs(
    fleet: Fleet, cloud: Cloud, state: ResourceState, charged_usd: float, known_usd: float
) -> None:
    """So that budget and bill count what is paid, should that differ from what was offered."""
    fleet.store.add(deployment(price_usd_per_hour=2.0))
    cloud.resources["gpu-tiny-1"] = replace(cloud.add("gpu-tiny-1"), state=state, price_usd_per_hour=charged_usd)
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].price_usd_per_hour == known_usd
    assert fleet.store.get("gpu-tiny-1").price_usd_per_hour == known_usd


@pytest.mark.parametrize(
    ("link", "told", "endpoint"),
    [
        (Link.DIRECT, "http://1.2.3.4:30001", "http://1.2.3.4:30001"),
        (Link.TLS, "http://1.2.3.4:30001", "https://1.2.3.4:30001"),
        (Link.TLS, "", "https://old"),
        (Link.SSH, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_an_endpoint_that_the_cloud_tells_late_or_anew_goes_on_record(
    fleet: Fleet, cloud: Cloud, link: Link, told: str, endpoint: str
) -> None:
    fleet.store.add(deployment(link=link, endpoint="https://old"))
    cloud.resources["gpu-tiny-1"] = replace(cloud.add("gpu-tiny-1"), endpoint=told)
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].endpoint == endpoint
    assert fleet.store.get("gpu-tiny-1").endpoint == endpoint


def broken(cloud: Cloud, detail: str = "exited") -> None:
    cloud.resources["gpu-tiny-1"] = replace(cloud.add("gpu-tiny-1", ResourceState.BROKEN), detail=detail)


@pytest.mark.parametrize("kind", [Kind.POD, Kind.VM])
@pytest.mark.parametrize(
    ("state", "line", "why"),
    [
        (State.READY, "[supervisor] ended reason=idle detail=no work for 600 s", "idle"),
        (State.READY, "[supervisor] ended reason=deadline detail=3600 s since the start", "deadline"),
        (State.READY, "[supervisor] ended reason=engine-hung detail=silent", "engine-hung: silent"),
        (State.READY, "[supervisor] ended reason=engine-died detail=exit status 1", "engine-died: exit status 1"),
        (State.LOADING, "[supervisor] ended reason=start-deadline detail=60 s", "start-deadline: 60 s"),
        (State.READY, "[supervisor] ended reason=terminated detail=signal", "cloud says: exited"),
        (State.READY, "nothing was said", "cloud says: exited"),
    ],
)
def test_a_supervisor_that_could_not_destroy_its_container_has_said_why_it_ended(
    fleet: Fleet, cloud: Cloud, kind: Kind, state: State, line: str, why: str
) -> None:
    fleet.store.add(deployment(state=state, kind=kind))
    broken(cloud)
    cloud.logged = [line]
    assert why_end(fleet, *look(fleet, fleet.store.get("gpu-tiny-1"))) == why


def test_a_machine_whose_container_has_exited_is_ended_for_the_reason_that_its_supervisor_gave(
    fleet: Fleet, cloud: Cloud
) -> None:
    fleet.store.add(deployment(kind=Kind.VM))
    broken(cloud)
    cloud.logged = ["the image is there", "[supervisor] ended reason=idle detail=no work for 600 s"]
    assert settle(fleet) == []
    assert cloud.resources == {}
    ended = fleet.store.get("gpu-tiny-1")
    assert (ended.state, ended.reason) == (State.GONE, "idle")


@pytest.mark.parametrize(
    ("changes", "line", "blamed"),
    [
        ({"state": State.LOADING, "host": "m1"}, "", True),
        ({"state": State.LOADING, "host": "m1"}, "[supervisor] ended reason=engine-died detail=exit status 1", False),
        ({"state": State.LOADING, "host": ""}, "", False),
        ({"state": State.READY, "host": "m1"}, "", False),
    ],
)
def test_the_host_of_a_detached_start_is_blamed_where_nothing_else_says_why_it_failed(
    fleet: Fleet, cloud: Cloud, changes: dict[str, object], line: str, blamed: bool
) -> None:
    fleet.store.add(deployment(**changes))  # type: ignore[arg-type]
    broken(cloud)
    cloud.logged = [line]
    why_end(fleet, *look(fleet, fleet.store.get("gpu-tiny-1")))
    assert fleet.store.bad_hosts(NOW + AVOIDED_S - 1) == ({("cloud", "m1"): "exited"} if blamed else {})


@pytest.mark.parametrize(
    ("state", "line", "why"),
    [
        (State.READY, "", "taken back: outbid"),
        (State.READY, "[supervisor] ended reason=terminated detail=signal", "taken back: outbid"),
        (State.READY, "[supervisor] ended reason=idle detail=no work", "idle"),
        (State.LOADING, "", "cloud says: outbid"),
    ],
)
def test_what_a_spot_cloud_stops_after_it_was_ready_has_been_taken_back(
    fleet: Fleet, cloud: Cloud, state: State, line: str, why: str
) -> None:
    recipe = parse_recipe("model: A/B\nspot: true\n", Path("/r.yaml"), shown="r.yaml")
    fleet.store.add(deployment(state=state))
    spot_recipes(fleet).keep("gpu-tiny-1", recipe, Terms(None, 60.0))
    broken(cloud, "outbid")
    cloud.logged = [line]
    assert why_end(fleet, *look(fleet, fleet.store.get("gpu-tiny-1"))) == why


@pytest.mark.parametrize(
    ("said", "reason", "failure", "avoided"),
    [
        (
            HostFailed("its host is silent"),
            "its host is silent",
            "host-failed",
            {("cloud", "m1"): "its host is silent"},
        ),
        (InvalidRequest("no such image"), "no such image", "invalid-request", {}),
        (ProviderUnavailable("no answer"), "", "", {}),
    ],
)
def test_a_start_that_nobody_watches_is_given_up_on_the_clouds_word_that_it_will_come_to_nothing(
    fleet: Fleet, cloud: Cloud, said: ProviderError, reason: str, failure: str, avoided: dict[tuple[str, str], str]
) -> None:
    booting = deployment(state=State.BOOTING, host="m1")
    fleet.store.add(booting)
    cloud.boots = [said]
    assert why_not_booting(fleet, booting, print) == reason
    assert fleet.store.bad_hosts(NOW) == avoided
    assert fleet.store.get("gpu-tiny-1").failure == failure


def test_what_is_to_be_known_of_a_start_that_nobody_watches_is_told(fleet: Fleet, cloud: Cloud) -> None:
    told: list[str] = []
    cloud.boots = [Boot(False, "booting", note="its host key was trusted on first use"), Boot(False, "booting")]
    assert [why_not_booting(fleet, deployment(state=State.BOOTING), told.append) for _ in range(2)] == ["", ""]
    assert told == ["its host key was trusted on first use"]


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize(
    ("state", "line", "when_gone", "when_broken"),
    [
        (State.BOOTING, "", "host-failed", "host-failed"),
        (State.LOADING, "", "crashed", "host-failed"),
        (State.LOADING, "[supervisor] ended reason=engine-died detail=exit status 1", "crashed", "crashed"),
        (State.LOADING, "[supervisor] ended reason=start-deadline detail=60 s", "start-deadline", "start-deadline"),
        (State.LOADING, "[supervisor] ended reason=idle detail=no work for 600 s", "", ""),
        (State.READY, "[supervisor] ended reason=engine-died detail=exit status 1", "", ""),
    ],
)
def test_how_a_start_failed_that_nobody_watched_is_on_record_in_the_policys_words(
    fleet: Fleet, cloud: Cloud, state: State, line: str, when_gone: str, when_broken: str, gone: bool
) -> None:
    fleet.store.add(deployment(state=state, ready_at=NOW if state is State.READY else None))
    if not gone:
        broken(cloud)
    cloud.logged = [line]
    settle(fleet)
    ended = fleet.store.get("gpu-tiny-1")
    assert (ended.is_live, ended.failure) == (False, when_gone if gone else when_broken)


def test_a_start_that_was_given_up_at_its_deadline_has_failed_by_that_word(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    cloud.add("gpu-tiny-1")
    fleet.store.add(deployment(state=State.LOADING, ready_at=None, start_deadline_at=NOW))
    clock.time += GUARD_GRACE_S
    settle(fleet)
    assert fleet.store.get("gpu-tiny-1").failure == "start-deadline"


def test_a_start_that_its_user_or_its_limits_ended_has_not_failed(fleet: Fleet, clock: FakeClock) -> None:
    fleet.store.add(deployment(state=State.LOADING, ready_at=None, tied=True))
    fleet.store.add(deployment("other", state=State.LOADING, ready_at=None, deadline_at=NOW + 1))
    clock.time += 2
    settle(fleet)
    ended = [fleet.store.get(name) for name in ("gpu-tiny-1", "gpu-other-1")]
    assert [(one.is_live, one.failure) for one in ended] == [(False, "")] * 2
