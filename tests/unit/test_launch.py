"""Which trouble leads to the next candidate, which ends the launch, and what is left: a cloud in memory, no waiting."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, Shy, deployment, make_fleet
from sellers import offer

from gpu_cli import __version__
from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.replace import call_off
from gpu_cli.fleet.end.spot import Terms, spot_recipes
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch.failover import launch
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import CRASHES, HOSTS, PATIENCE, SILENCES
from gpu_cli.fleet.launch.start import log_path
from gpu_cli.locks import Lock, released
from gpu_cli.planner.offers.filters import Filters
from gpu_cli.planner.rank import rank
from gpu_cli.recipe.files import load_recipe, parse_recipe
from gpu_cli.ui.progress import Progress, Silent
from gpu_providers.base import Boot, Kind, LaunchRequest, Link, Offer, Resource
from gpu_providers.errors import (
    AuthError,
    CommandCrashed,
    CreateUnknown,
    HostFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)

MANY = 6
"""Candidates; more than any launch tries of a cloud that does not work."""
RECIPE = "model: A/B\ncontext: 4096\ngpu: {names: [H100]}\n"
LIMITS = Limits(
    idle_s=600.0,
    ttl_s=3600.0,
    start_deadline_s=1800.0,
    boot_deadline_s=60.0,
    budget_usd=None,
    max_price_usd_per_hour=None,
)


class Host(Cloud):
    """A cloud whose lists lag, and behind whose addresses nothing listens."""

    list_lag_s = 30.0

    def add(self, name: str, /, **labels: str) -> Resource:  # type: ignore[override]
        made = replace(super().add(name, **labels), endpoint="http://127.0.0.1:9")
        self.resources[name] = made
        return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Host:
    return Host()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Host, clock: FakeClock) -> Iterator[Fleet]:
    """With a guard at work, as far as anyone can tell."""
    fleet = make_fleet(tmp_path, cloud, clock)
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield fleet
    fleet.store.close()


def up(
    fleet: Fleet,
    *offers: Offer,
    path: Path = Path("/tiny.yaml"),
    wait: bool = False,
    direct: bool = False,
    yes: bool = True,
    progress: Progress | None = None,
) -> Deployment:
    recipe = parse_recipe(RECIPE, path, shown="tiny.yaml")
    sold = offers or [replace(offer("cloud", price), host=f"m{price}") for price in range(1, MANY + 1)]
    plan = rank(recipe, sold, None, filters=Filters(spot=True))
    wanted = Wanted(recipe, "tiny", LIMITS, wait=wait, direct=direct, yes=yes)
    return launch(fleet, wanted, plan.candidates, progress or Silent(), [])


def failed(fleet: Fleet, *offers: Offer, **options: object) -> UserError:
    with pytest.raises(UserError) as error:
        up(fleet, *offers, **options)  # type: ignore[arg-type]
    return error.value


def reasons(fleet: Fleet) -> list[str]:
    """Why all that was tried has ended, the first one first."""
    assert fleet.store.live() == []
    return [one.reason for one in reversed(fleet.store.ended())]


def test_the_first_candidate_that_can_be_had_is_taken(fleet: Fleet, cloud: Host) -> None:
    cloud.launches = [NoCapacity("sold out"), NoCapacity("sold out")]
    made = up(fleet)
    assert (made.state, made.tied, made.resource_id) == (State.BOOTING, False, f"id-{made.resource_name}")
    assert len(cloud.launched) == 3
    assert list(cloud.resources) == [made.resource_name]
    assert [one.reason for one in fleet.store.ended()] == ["sold out", "sold out"]


def test_a_definite_refusal_costs_no_waiting(fleet: Fleet, cloud: Host, clock: FakeClock) -> None:
    cloud.launches = [NoCapacity("sold out")] * MANY
    assert failed(fleet).exit_status is Exit.LAUNCH_FAILED
    assert len(cloud.launched) == MANY
    assert clock.now() == NOW


@pytest.mark.parametrize(
    ("error", "tried", "status"),
    [
        (NoCapacity("sold out"), MANY, Exit.LAUNCH_FAILED),
        (ProviderUnavailable("status 503"), SILENCES.most, Exit.LAUNCH_FAILED),
        (CreateUnknown("reset"), SILENCES.most, Exit.LAUNCH_FAILED),
        (QuotaExceeded("spend limit"), 1, Exit.LAUNCH_FAILED),
        (AuthError("401"), 1, Exit.CREDENTIALS),
        (InsufficientFunds("balance"), 1, Exit.CREDENTIALS),
        (InvalidRequest("no such volume"), 1, Exit.BAD_INPUT),
        (RateLimited("429", retry_after_s=3600.0), PATIENCE.most, Exit.LAUNCH_FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ProviderError) else "",
)
def test_what_the_next_candidate_would_end_in_as_well_is_not_tried(
    fleet: Fleet, cloud: Host, error: ProviderError, tried: int, status: Exit
) -> None:
    cloud.launches = [error] * 3 * MANY
    refused = failed(fleet)
    assert refused.exit_status is status
    assert error.message in refused.message
    assert len(cloud.launched) == tried
    assert cloud.resources == {}
    assert fleet.store.live() == []


def test_a_cloud_that_is_silent_even_when_asked_what_it_made_is_not_tried_for_ever(
    fleet: Fleet, cloud: Host, clock: FakeClock
) -> None:
    cloud.launches = [CreateUnknown("reset")] * MANY
    silent_until: dict[str, float] = {}
    find = cloud.find

    def late(name: str) -> Resource | None:
        if clock.now() < silent_until.setdefault(name, clock.now() + cloud.list_lag_s + 10):
            raise ProviderUnavailable("status 502")
        return find(name)

    cloud.find = late  # type: ignore[method-assign]
    assert failed(fleet).exit_status is Exit.LAUNCH_FAILED
    assert len(cloud.launched) == SILENCES.most


def test_another_cloud_is_asked_when_one_refuses_all(fleet: Fleet, cloud: Host) -> None:
    other = Host()
    fleet._loaded["other"] = other
    cloud.launches = [InsufficientFunds("balance")]
    made = up(fleet, offer("cloud", 1.0), offer("cloud", 2.0), offer("other", 3.0))
    assert (made.provider, len(cloud.launched)) == ("other", 1)


def test_credentials_and_sold_out_together_are_no_matter_of_credentials(fleet: Fleet, cloud: Host) -> None:
    cloud.launches = [NoCapacity("sold out"), AuthError("401")]
    assert failed(fleet).exit_status is Exit.LAUNCH_FAILED


def test_a_cloud_that_asks_for_a_little_patience_gets_it(fleet: Fleet, cloud: Host, clock: FakeClock) -> None:
    cloud.launches = [RateLimited("429", retry_after_s=7.0)]
    assert up(fleet).state is State.BOOTING
    assert clock.now() == NOW + 7


@pytest.mark.parametrize(
    ("error", "hosts"), [(HostFailed("cuda>=13.0"), HOSTS.most), (CommandCrashed("crash loop"), CRASHES.most)]
)
def test_hosts_that_do_not_come_up_are_ended_one_after_the_other_and_only_so_many_are_paid_for(
    fleet: Fleet, cloud: Host, error: ProviderError, hosts: int
) -> None:
    cloud.boots = [error]
    most_alive: list[int] = []
    add = cloud.add

    def counted(name: str, **labels: str) -> Resource:
        made = add(name, **labels)
        most_alive.append(len(cloud.resources))
        return made

    cloud.add = counted  # type: ignore[method-assign,assignment]
    refused = failed(fleet, wait=True)
    assert refused.exit_status is Exit.NEVER_HEALTHY
    assert (len(cloud.terminated), most_alive) == (hosts, [1] * hosts)
    assert cloud.resources == {}
    assert reasons(fleet) == [error.message] * hosts


def test_what_no_host_could_do_is_tried_on_one(fleet: Fleet, cloud: Host) -> None:
    cloud.boots = [InvalidRequest("no such image")]
    refused = failed(fleet, wait=True)
    assert (refused.exit_status, refused.code) == (Exit.BAD_INPUT, "refused")
    assert (len(cloud.launched), cloud.resources) == (1, {})


def test_a_host_that_cannot_be_ended_is_the_last_one(fleet: Fleet, cloud: Host) -> None:
    cloud.boots, cloud.terminates = [HostFailed("cuda>=13.0")], False
    refused = failed(fleet, wait=True)
    assert refused.exit_status is Exit.CLEANUP_UNCONFIRMED
    assert refused.still_billing == tuple(cloud.launched)
    assert len(cloud.launched) == 1
    assert [one.state for one in fleet.store.live()] == [State.TERMINATING]


def test_an_answer_that_was_lost_is_not_forgotten_by_ctrl_c(fleet: Fleet, cloud: Host, clock: FakeClock) -> None:
    """It is looked for while the user gives up; the cloud's lists know of it only later."""
    find = cloud.find
    cloud.find = lambda name: find(name) if clock.now() >= NOW + 25 else None  # type: ignore[method-assign]
    cloud.launches = ["connection reset"]
    pressed: list[float] = []

    def press_once() -> None:
        if clock.now() >= NOW + 5 and not pressed:
            pressed.append(clock.now())
            raise KeyboardInterrupt

    clock.on_sleep = press_once
    with pytest.raises(KeyboardInterrupt):
        up(fleet)
    assert (len(cloud.launched), cloud.resources) == (1, {})
    assert reasons(fleet) == ["interrupted"]


def test_a_create_that_took_long_and_was_interrupted_is_looked_for_long_enough(
    fleet: Fleet, cloud: Host, clock: FakeClock
) -> None:
    launched = cloud.launch
    find = cloud.find

    def late(request: object) -> Resource:
        launched(request)  # type: ignore[arg-type]
        clock.time += 50
        raise KeyboardInterrupt

    cloud.launch = late  # type: ignore[method-assign,assignment]
    cloud.find = lambda name: find(name) if clock.now() >= NOW + 70 else None  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        up(fleet)
    assert cloud.resources == {}


@pytest.mark.parametrize("others", [State.TERMINATING, State.GONE])
def test_what_others_have_ended_while_it_was_being_made_is_ended_by_who_made_it(
    fleet: Fleet, cloud: Host, clock: FakeClock, others: State
) -> None:
    """`gpu down`, or the guard, found nothing at the cloud and believed it."""
    launched = cloud.launch

    def slow(request: object) -> Resource:
        (deployment,) = fleet.store.live()
        ending = fleet.store.move(deployment, State.TERMINATING, at=NOW, reason="gpu down")
        if others is State.GONE:
            fleet.store.move(ending, State.GONE, at=NOW, ended_at=NOW)
        clock.time += 50
        return launched(request)  # type: ignore[arg-type]

    cloud.launch = slow  # type: ignore[method-assign,assignment]
    cloud.find = lambda _: None  # type: ignore[method-assign]  # its lists lag, whoever looks
    assert failed(fleet).code == "ended-while-starting"
    assert cloud.terminated == [f"id-{name}" for name in cloud.launched]
    assert cloud.resources == {}
    assert reasons(fleet) == ["gpu down"]


def test_a_machine_that_vanishes_because_someone_ends_it_has_not_failed(fleet: Fleet, cloud: Host) -> None:
    def vanish(resource_id: str) -> Boot:
        (deployment,) = fleet.store.live()
        tear_down(fleet, deployment, "gpu down")
        raise HostFailed("it is gone")

    cloud.boot = vanish  # type: ignore[method-assign,assignment]
    assert failed(fleet, wait=True).code == "ended-while-starting"
    assert len(cloud.launched) == 1
    assert [(one.reason, one.failure) for one in fleet.store.ended()] == [("gpu down", "")]


def test_what_the_user_ends_while_it_boots_is_not_taken_for_a_broken_host(fleet: Fleet, cloud: Host) -> None:
    def ended_by_another(resource_id: str) -> Boot:
        (deployment,) = fleet.store.live()
        fleet.store.move(deployment, State.TERMINATING, at=NOW, reason="gpu down")
        cloud.terminate(resource_id)
        raise NotFound("gone")

    cloud.boot = ended_by_another  # type: ignore[method-assign]
    assert failed(fleet, wait=True).code == "ended-while-starting"
    assert (len(cloud.launched), reasons(fleet)) == (1, ["gpu down"])
    assert [one.failure for one in fleet.store.ended()] == [""]
    assert fleet.store.bad_hosts(NOW) == {}


def test_a_record_that_cannot_be_written_does_not_keep_what_was_made_running(fleet: Fleet, cloud: Host) -> None:
    launched = cloud.launch

    def full_disk(request: object) -> Resource:
        made = launched(request)  # type: ignore[arg-type]
        fleet.store._open_connection().execute("PRAGMA query_only = 1")
        return made

    cloud.launch = full_disk  # type: ignore[method-assign,assignment]
    cloud.find = lambda _: None  # type: ignore[method-assign]
    assert failed(fleet).code == "state-unwritable"
    assert cloud.resources == {}


class Unread(Silent):
    """Progress that is written to a pipe whose reader has left, from a moment on."""

    def __init__(self, clock: FakeClock, from_s: float) -> None:
        self.clock, self.from_s = clock, from_s

    def stage(self, name: str) -> None:
        self.note(name)

    def note(self, text: str) -> None:
        if self.clock.now() >= NOW + self.from_s:
            raise BrokenPipeError(text)


@pytest.mark.parametrize("from_s", [0.0, 20.0])
def test_when_nobody_reads_any_more_it_is_ended_all_the_same(
    fleet: Fleet, cloud: Host, clock: FakeClock, from_s: float
) -> None:
    cloud.boots = [Boot(False, "pulling the image")]
    with pytest.raises(BrokenPipeError):
        up(fleet, wait=True, progress=Unread(clock, from_s))
    assert (len(cloud.launched), cloud.resources) == (int(from_s > 0), {})
    assert fleet.store.live() == []


def test_what_scales_to_zero_is_metered_from_when_it_was_made_however_long_that_took(
    fleet: Fleet, cloud: Host, clock: FakeClock
) -> None:
    launched = cloud.launch

    def slow(request: LaunchRequest) -> Resource:
        clock.time += 300
        return launched(request)

    cloud.launch = slow  # type: ignore[method-assign]
    made = up(fleet, offer("cloud", kind=Kind.SERVERLESS))
    recorded = fleet.store.get(made.resource_name)
    assert (recorded.launched_at, recorded.metered_at, recorded.metered_usd) == (NOW, NOW + 300, 0.0)


def test_what_has_been_made_is_on_record_before_anything_else(fleet: Fleet, cloud: Host) -> None:
    made = up(fleet)
    recorded = fleet.store.get(made.resource_name)
    assert (recorded.resource_id, recorded.endpoint) == (made.resource_id, "http://127.0.0.1:9")
    assert recorded.price_usd_per_hour == cloud.resources[made.resource_name].price_usd_per_hour


@pytest.mark.parametrize("trouble", [HostFailed("exited"), KeyboardInterrupt()])
def test_what_the_cloud_does_not_show_yet_is_not_left_behind(
    fleet: Fleet, clock: FakeClock, trouble: BaseException
) -> None:
    shy = Shy(clock)
    fleet._loaded["cloud"] = shy

    def boot(_: str) -> Boot:
        raise trouble

    shy.boot = boot  # type: ignore[method-assign]
    with pytest.raises(UserError if isinstance(trouble, HostFailed) else KeyboardInterrupt):
        up(fleet, offer("cloud"), wait=True)
    assert (len(shy.launched), shy.resources) == (1, {})
    assert fleet.store.live() == []


def test_a_host_that_failed_is_not_tried_again_for_its_other_offers(fleet: Fleet, cloud: Host) -> None:
    cloud.boots = [HostFailed("exited")]
    one, two = (replace(offer("cloud", price), host="m1") for price in (1.0, 2.0))
    other = replace(offer("cloud", 3.0), host="m2")
    refused = failed(fleet, one, two, other, wait=True)
    assert refused.exit_status is Exit.NEVER_HEALTHY
    assert len(cloud.launched) == 2
    assert fleet.store.bad_hosts(NOW) == {("cloud", "m1"): "exited", ("cloud", "m2"): "exited"}


def test_a_host_that_failed_for_someone_else_since_the_plan_was_made_is_not_tried(fleet: Fleet, cloud: Host) -> None:
    fleet.store.avoid_host("cloud", "m1", until=NOW + 60, reason="exited")
    assert up(fleet, *(replace(offer("cloud", price), host=f"m{price:.0f}") for price in (1.0, 2.0))).host == "m2"
    assert len(cloud.launched) == 1


@pytest.mark.parametrize("trouble", [InvalidRequest("no such image"), NoCapacity("sold out")])
def test_a_host_is_not_blamed_for_what_is_not_its_fault(fleet: Fleet, cloud: Host, trouble: ProviderError) -> None:
    cloud.boots, cloud.launches = [InvalidRequest("no such image")], [trouble]
    failed(fleet, replace(offer("cloud"), host="m1"), wait=True)
    assert fleet.store.bad_hosts(NOW) == {}


class Told(Silent):
    """What was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_bare_ports_are_reached_over_tls_unless_the_user_wants_them_bare_and_is_told_once(
    fleet: Fleet, cloud: Host
) -> None:
    cloud.link = Link.TLS  # type: ignore[misc]
    told = Told()
    made = up(fleet, replace(offer("cloud"), host="m1"), progress=told)
    assert (made.link, made.host, made.endpoint, told.notes) == (Link.TLS, "m1", "https://127.0.0.1:9", [])
    fleet.store.move(made, State.TERMINATING, at=NOW)
    fleet.store.move(fleet.store.get(made.resource_name), State.GONE, at=NOW)
    made = up(fleet, direct=True, progress=told)
    assert (made.link, made.endpoint) == (Link.DIRECT, "http://127.0.0.1:9")
    assert told.notes == ["--direct: the key and all prompts travel unencrypted over the internet (cloud)"]


def test_ports_of_a_machines_loopback_are_reached_over_ssh_unless_the_user_wants_them_bare(
    fleet: Fleet, cloud: Host
) -> None:
    cloud.link = Link.SSH  # type: ignore[misc]
    told = Told()
    made = up(fleet, progress=told)
    assert (made.link, made.endpoint, told.notes) == (Link.SSH, "http://127.0.0.1:9", [])
    tear_down(fleet, made, "test")
    assert up(fleet, direct=True, progress=told).link is Link.DIRECT
    assert told.notes == ["--direct: the key and all prompts travel unencrypted over the internet (cloud)"]


def test_what_nobody_would_end_is_not_ordered_unless_the_user_says_so(fleet: Fleet, cloud: Host) -> None:
    refused = failed(fleet, yes=False)
    assert (refused.exit_status, refused.code) == (Exit.BAD_INPUT, "nothing-ends-it")
    assert cloud.launched == []
    assert up(fleet, yes=True).is_live


def test_the_log_of_a_host_that_failed_is_read_before_it_is_ended_and_kept(fleet: Fleet, cloud: Host) -> None:
    cloud.boots = [HostFailed("CUDA does not initialise (error 802)")]

    def logs(resource_id: str, **options: object) -> Iterator[str]:
        return iter([f"of {cloud.describe(resource_id).name}", "cuInit: 802"])

    cloud.logs = logs  # type: ignore[method-assign]
    failed(fleet, offer("cloud"), wait=True)
    (ended,) = fleet.store.ended()
    assert log_path(fleet, ended).read_text() == f"of {ended.resource_name}\ncuInit: 802\n"
    assert cloud.resources == {}


def test_where_the_cloud_has_tls_of_its_own_there_is_nothing_to_warn_of(fleet: Fleet) -> None:
    told = Told()
    assert up(fleet, direct=True, progress=told).link is Link.DIRECT
    assert told.notes == []


def test_the_recipe_of_what_can_be_taken_back_is_kept_for_as_long_as_it_lives(fleet: Fleet, cloud: Host) -> None:
    kept = spot_recipes(fleet)
    cloud.launches = [NoCapacity("sold out")]
    made = up(fleet, *(replace(offer("cloud", price), interruptible=True, host=f"m{price}") for price in (1.0, 2.0)))
    path = kept.recipe_path(made.resource_name)
    assert load_recipe(path).digest() == made.recipe_digest
    assert kept.terms_beside(path) == Terms(None, 60.0)
    files = list(path.parent.iterdir())
    assert {file.stem for file in files} == {made.resource_name}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    tear_down(fleet, made, "gpu down")
    assert list(path.parent.iterdir()) == []


def test_how_many_were_taken_back_in_a_row_is_known_to_the_next_one(fleet: Fleet) -> None:
    kept = spot_recipes(fleet)
    lost = kept.recipe_path("gpu-tiny-lost")
    kept.keep("gpu-tiny-lost", parse_recipe(RECIPE, lost, shown="tiny.yaml"), Terms(None, 60.0, 1))
    made = up(fleet, replace(offer("cloud"), interruptible=True), path=lost)
    assert kept.terms_beside(kept.recipe_path(made.resource_name)) == Terms(None, 60.0, 2)


def test_a_replacement_that_was_called_off_while_it_was_planned_is_not_launched(fleet: Fleet, cloud: Host) -> None:
    lost = deployment("tiny", State.FAILED, ended_at=NOW)
    fleet.store.add(lost)
    kept = spot_recipes(fleet)
    path = kept.recipe_path(lost.resource_name)
    kept.keep(lost.resource_name, parse_recipe(RECIPE, path, shown="tiny.yaml"), Terms(None, 60.0))
    call_off(fleet, ["tiny"])
    assert failed(fleet, replace(offer("cloud"), interruptible=True), path=path).code == "not-wanted"
    assert failed(fleet, path=path).code == "not-wanted"
    assert (cloud.launched, fleet.store.live()) == ([], [])


def test_the_recipe_of_what_cannot_be_taken_back_is_not_kept(fleet: Fleet) -> None:
    made = up(fleet)
    assert not spot_recipes(fleet).recipe_path(made.resource_name).exists()


@pytest.mark.parametrize(
    ("usd_per_gib", "notes"),
    [(0.02, ["traffic of image and weights: some $0.20, once"]), (0.0001, []), (0.0, [])],
)
def test_traffic_that_is_billed_is_told(fleet: Fleet, usd_per_gib: float, notes: list[str]) -> None:
    told = Told()
    up(fleet, replace(offer("cloud"), traffic_usd_per_gib=usd_per_gib), progress=told)
    assert told.notes == notes
