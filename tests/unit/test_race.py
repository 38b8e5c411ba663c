"""`--race N`: who is kept, what becomes of the others, what holds for all of them. Clouds in memory, real threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from threading import Lock as Mutex

import pytest
from fleets import Cloud, deployment, make_fleet
from sellers import offer

from gpu_cli import __version__
from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import ABANDONED, LOST_RACE, ON_REQUEST, Deployment, State
from gpu_cli.fleet.end import teardown
from gpu_cli.fleet.end.reconcile import why_end
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch import failover, racer
from gpu_cli.fleet.launch import race as race_module
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import HOSTS, Attempt
from gpu_cli.fleet.launch.race import race
from gpu_cli.fleet.launch.race_names import racers_for
from gpu_cli.fleet.launch.start import cleaned_up, still_wanted
from gpu_cli.fleet.store import NameTaken, StateMoved
from gpu_cli.locks import Lock, is_held, released
from gpu_cli.planner.offers.filters import Filters
from gpu_cli.planner.rank import Candidate, rank
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.ui.progress import Progress, Silent
from gpu_providers.base import Kind, Offer, Resource
from gpu_providers.errors import AuthError, HostFailed, InvalidRequest, NoCapacity

RECIPE = parse_recipe("model: A/B\ncontext: 4096\ngpu: {names: [H100]}\n", Path("/tiny.yaml"), shown="tiny.yaml")
LIMITS = Limits(
    idle_s=600.0,
    ttl_s=3600.0,
    start_deadline_s=1800.0,
    boot_deadline_s=60.0,
    budget_usd=None,
    max_price_usd_per_hour=None,
)
PATIENCE_S = 20.0

Fate = Callable[[Fleet, Deployment], object]
"""What a racer sees of its start, until it is healthy: by returning."""


class Sky(Cloud):
    """It knows how much it had at once, and can be slow to let go."""

    poll_interval_s = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.mutex = Mutex()
        self.keeps: set[str] = set()
        """Regions where nothing ends."""

    def rent(self, name: str, region: str) -> Resource:
        with self.mutex:
            self.resources[name] = replace(self.add(name), region=region)
            self.most = max(self.most, len(self.resources))
            return self.resources[name]

    def terminate(self, resource_id: str) -> None:
        with self.mutex:
            if self.describe(resource_id).region not in self.keeps:
                super().terminate(resource_id)


class Ahead(Clock):
    """By so much, from one moment to the next."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


class Track:
    """A race at one cloud. `fates` says by region how each start goes; without one it waits until it is not wanted."""

    def __init__(self, fleet: Fleet, sky: Sky, clock: Ahead) -> None:
        self.fleet, self.sky, self.clock = fleet, sky, clock
        self.wanted = Wanted(RECIPE, "tiny", LIMITS, race=2)
        self.fates: dict[str, Fate] = {}
        self.ordered: list[Wanted] = []
        self.tried: list[Attempt] = []
        self.progress: Progress = Silent()

    def run(self, *offers: Offer, **changes: object) -> Deployment:
        wanted = replace(self.wanted, **changes)  # type: ignore[arg-type]
        return race(self.fleet, wanted, candidates(*offers), self.progress, self.tried)

    def failed(self, *offers: Offer, **changes: object) -> UserError:
        with pytest.raises(UserError) as error:
            self.run(*offers, **changes)
        self.check_nothing_left()
        return error.value

    def check_nothing_left(self) -> None:
        assert self.fleet.store.live() == []
        assert self.sky.resources == {}

    def launch_one(
        self,
        fleet: Fleet,
        wanted: Wanted,
        candidate: Candidate,
        _plan: Sequence[Candidate],
        progress: Progress,
        *,
        resource_name: str,
    ) -> Deployment:
        """One start, with all but the cloud's machine and the engine as it really is."""
        self.ordered.append(wanted)
        sold = candidate.offer
        made = deployment(
            wanted.name,
            State.BOOTING,
            resource_name=resource_name,
            resource_id=f"id-{resource_name}",
            region=sold.region,
            price_usd_per_hour=sold.price_usd_per_hour,
            budget_usd=wanted.limits.budget_usd,
            created_at=fleet.clock.now(),
            launched_at=fleet.clock.now(),
            deadline_at=fleet.clock.now() + 3600,
            ready_at=None,
            active_at=None,
            tied=True,
        )
        fleet.store.add(made)
        with cleaned_up(fleet, made, progress):
            self.sky.rent(resource_name, sold.region)
            progress.stage("boot")
            self.fates.get(sold.region, waits)(fleet, made)
            loading = fleet.store.move(made, State.LOADING, at=fleet.clock.now())
            return fleet.store.move(loading, State.READY, at=fleet.clock.now(), ready_at=fleet.clock.now(), tied=True)


def waits(fleet: Fleet, made: Deployment) -> None:
    """Until it is not wanted any more."""
    give_up_at = fleet.clock.now() + PATIENCE_S
    while fleet.clock.now() < give_up_at:
        still_wanted(fleet, made.resource_name)
        fleet.clock.sleep(0.005)
    pytest.fail("nobody told it that it is not wanted")


def works(_fleet: Fleet, _made: Deployment) -> None:
    """At once."""


def works_beside(track: Track, others: int) -> Fate:
    """Once there are so many others at the cloud."""

    def fate(_fleet: Fleet, _made: Deployment) -> None:
        wait_for(lambda: len(track.sky.resources) > others)

    return fate


def fails(error: BaseException) -> Fate:
    def fate(_fleet: Fleet, _made: Deployment) -> None:
        raise error

    return fate


def wait_for(done: Callable[[], object]) -> None:
    clock = Clock()
    give_up_at = clock.now() + PATIENCE_S
    while not done():
        assert clock.now() < give_up_at
        clock.sleep(0.005)


def sold(region: str, price: float = 2.0, host: str = "") -> Offer:
    return replace(offer("cloud", price), offer_id=f"cloud-{region}-{price}-{host}", region=region, host=host)


def candidates(*offers: Offer) -> Sequence[Candidate]:
    """In this order."""
    ranked = {one.offer.offer_id: one for one in rank(RECIPE, offers, None, filters=Filters()).candidates}
    return [ranked[one.offer_id] for one in offers]


@pytest.fixture
def sky() -> Sky:
    return Sky()


@pytest.fixture
def track(tmp_path: Path, sky: Sky, monkeypatch: pytest.MonkeyPatch) -> Iterator[Track]:
    """With a guard at work, as far as anyone can tell."""
    clock = Ahead()
    fleet = make_fleet(tmp_path, sky, clock)
    track = Track(fleet, sky, clock)
    monkeypatch.setattr(race_module, "POLL_S", 0.005)
    monkeypatch.setattr(teardown, "VERIFY_DEADLINE_S", 0.2)
    monkeypatch.setattr(failover, "launch_one", track.launch_one)
    monkeypatch.setattr(racer, "open_fleet", lambda *_: make_fleet(tmp_path, sky, Clock()))
    with closing(fleet.store), released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield track


class Told(Silent):
    """What people have read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_first_that_is_healthy_is_kept_by_the_wanted_name_and_the_other_is_gone(track: Track, sky: Sky) -> None:
    track.progress = told = Told()
    track.fates["se"] = works_beside(track, 1)
    kept = track.run(sold("no", 1.0), sold("se", 2.0), sold("fi", 3.0))
    assert (kept.name, kept.state, kept.tied, kept.region) == ("tiny", State.READY, False, "se")
    assert list(sky.resources) == [kept.resource_name]
    assert track.fleet.store.live() == [kept]
    (lost,) = track.fleet.store.ended()
    assert (lost.name, lost.state, lost.reason, lost.failure) == ("tiny-race-1", State.GONE, LOST_RACE, "")
    assert [(one.offer.region, one.error, one.outcome) for one in track.tried] == [
        ("no", None, LOST_RACE),
        ("se", None, "ready"),
    ]
    assert [note for note in told.notes if note.startswith("cloud-se-2.0-: boot ")]
    assert "cloud-se-2.0- has won the race" in told.notes[-1]


def test_while_they_race_each_is_tied_and_its_launch_lock_is_held(track: Track) -> None:
    def fate(fleet: Fleet, made: Deployment) -> None:
        assert is_held(fleet.launch_lock_path(made.name))
        assert fleet.store.get(made.resource_name).tied
        assert why_end(fleet, made, None) == ""
        works_beside(track, 1)(fleet, made)

    track.fates["no"] = fate
    track.run(sold("no"), sold("se"))
    assert not any(is_held(track.fleet.launch_lock_path(f"tiny-race-{number}")) for number in (1, 2))


def test_for_a_command_it_stays_tied_and_a_look_at_its_old_name_does_not_take_it_for_abandoned(track: Track) -> None:
    track.fates["no"] = works
    with released(track.fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        kept = track.run(sold("no"), sold("se"), tied=True)
        assert kept.tied
        assert why_end(track.fleet, replace(kept, name="tiny-race-1"), None) == ""
    assert why_end(track.fleet, kept, None) == ABANDONED


def test_one_that_fails_is_replaced_and_never_are_more_than_so_many_at_the_cloud(track: Track, sky: Sky) -> None:
    for region in ("a", "b", "c"):
        track.fates[region] = fails(NoCapacity("sold out"))
    track.fates["e"] = works_beside(track, 1)
    kept = track.run(*(sold(region, price) for price, region in enumerate("abcde", start=1)))
    assert kept.region == "e"
    assert sky.most == 2
    assert len(sky.terminated) == 4
    assert [one.outcome for one in track.tried if not one.error] == [LOST_RACE, "ready"]
    assert {wanted.name for wanted in track.ordered} == {"tiny-race-1", "tiny-race-2"}


def test_only_offers_in_different_places_race(track: Track) -> None:
    track.fates["se"] = works_beside(track, 2)
    offers = (sold("no", 1.0), sold("no", 1.1), sold("se", 2.0, "m1"), sold("se", 2.1, "m2"), sold("fi", 3.0))
    kept = track.run(*offers, race=3)
    assert kept.price_usd_per_hour in (2.0, 2.1)
    assert sorted(one.offer.price_usd_per_hour for one in track.tried) == [1.0, 2.0, 2.1]


def test_what_runs_on_this_machine_does_not_race(track: Track) -> None:
    track.fates["no"] = works
    track.progress = told = Told()
    here = replace(sold("here", 0.0), kind=Kind.PROCESS)
    assert track.failed(here).code == "nothing-to-race"
    assert track.run(here, sold("no")).region == "no"
    assert "only 1 of 2 race: there is no more to order" in told.notes


def test_what_the_policy_skips_is_not_ordered(track: Track) -> None:
    track.fates["no"] = fails(AuthError("401"))
    track.fates["se"] = lambda *_: wait_for(lambda: track.tried)
    assert track.run(sold("no"), sold("se"), sold("fi"), sold("de")).region == "se"
    assert len(track.ordered) == 2


def test_what_would_fail_anywhere_ends_the_race(track: Track) -> None:
    def refused(fleet: Fleet, made: Deployment) -> None:
        works_beside(track, 1)(fleet, made)
        raise InvalidRequest("no such volume")

    track.fates["no"] = refused
    error = track.failed(sold("no"), sold("se"), sold("fi"))
    assert (error.exit_status, error.code) == (Exit.BAD_INPUT, "refused")
    assert len(track.ordered) == 2
    assert track.tried[-1].outcome == race_module.CALLED_OFF


def test_when_enough_have_failed_the_error_says_so(track: Track) -> None:
    track.fates = {region: fails(HostFailed("its host did not come up")) for region in "abcdef"}
    error = track.failed(*(sold(region) for region in "abcdef"))
    assert (error.exit_status, error.code) == (Exit.NEVER_HEALTHY, "not-launched")
    assert HOSTS.most <= len(track.ordered) <= HOSTS.most + 1  # one may be under way when the last of them fails


def test_an_interrupt_ends_all_of_them(track: Track) -> None:
    class Interrupted(Silent):
        def detail(self, _text: str) -> None:
            if len(track.sky.resources) == 2:
                raise KeyboardInterrupt

    track.progress = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        track.run(sold("no"), sold("se"))
    track.check_nothing_left()
    assert {one.reason for one in track.fleet.store.ended()} == {"interrupted"}


def test_an_interrupt_when_one_is_kept_already_ends_that_too(track: Track) -> None:
    class Interrupted(Silent):
        def note(self, text: str) -> None:
            if "has won the race" in text:
                raise KeyboardInterrupt

    track.fates["no"] = works
    track.progress = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        track.run(sold("no"), sold("se"))
    track.check_nothing_left()


def test_a_bug_in_one_ends_all_and_is_told(track: Track) -> None:
    def buggy(fleet: Fleet, made: Deployment) -> None:
        works_beside(track, 1)(fleet, made)
        raise ZeroDivisionError("a bug")

    track.fates["no"] = buggy
    with pytest.raises(ZeroDivisionError):
        track.run(sold("no"), sold("se"))
    track.check_nothing_left()


def test_one_that_its_user_ends_ends_the_race(track: Track) -> None:
    def ended(fleet: Fleet, made: Deployment) -> None:
        works_beside(track, 1)(fleet, made)
        racing = {one.resource_name: one for one in racers_for("tiny", fleet.store.live())}
        assert len(racing) == 2
        tear_down(fleet, racing[made.resource_name], ON_REQUEST)
        still_wanted(fleet, made.resource_name)

    track.fates["no"] = ended
    assert track.failed(sold("no"), sold("se"), sold("fi")).code == "ended-while-starting"
    assert len(track.ordered) == 2


def test_of_two_that_are_healthy_one_is_kept(track: Track, sky: Sky) -> None:
    both = Event()

    def together(fleet: Fleet, _made: Deployment) -> None:
        wait_for(lambda: len(sky.resources) == 2)
        both.set()

    track.fates = {"no": together, "se": together}
    kept = track.run(sold("no"), sold("se"))
    assert both.is_set()
    assert list(sky.resources) == [kept.resource_name]
    assert [one.reason for one in track.fleet.store.ended()] == [LOST_RACE]


@pytest.mark.parametrize("winner", ["se", None])
def test_what_is_not_confirmed_gone_is_named_and_nothing_else_is_left(
    track: Track, sky: Sky, winner: str | None
) -> None:
    sky.keeps = {"no"}
    track.fates["no"] = waits if winner else fails(HostFailed("down"))
    track.fates["se"] = works_beside(track, 1) if winner else waits
    with pytest.raises(UserError) as error:
        track.run(sold("no"), sold("se"), sold("fi"))
    (left,) = sky.resources.values()
    assert (left.region, error.value.exit_status) == ("no", Exit.CLEANUP_UNCONFIRMED)
    assert error.value.still_billing == (left.name,)
    assert [one.resource_name for one in track.fleet.store.live()] == [left.name]


def test_the_budget_is_shared_and_what_the_others_leave_is_the_winners(track: Track) -> None:
    track.fates["no"] = works_beside(track, 1)
    limits = replace(LIMITS, budget_usd=2.0)
    kept = track.run(sold("no", 2.0), sold("se", 2.0), limits=limits)
    assert [wanted.limits.budget_usd for wanted in track.ordered] == [1.0, 1.0]
    (lost,) = (one for one in track.tried if one.outcome == LOST_RACE)
    assert lost.cost_usd > 0
    assert kept.budget_usd == 2.0 - lost.cost_usd


def test_one_in_the_place_of_another_gets_what_that_one_has_left(track: Track) -> None:
    track.fates["no"] = fails(NoCapacity("sold out"))
    track.fates["fi"] = works_beside(track, 1)
    track.run(sold("no", 1.0), sold("se", 2.0), sold("fi", 3.0), limits=replace(LIMITS, budget_usd=2.0))
    failed = next(one for one in track.tried if one.error)
    assert [wanted.limits.budget_usd for wanted in track.ordered] == [1.0, 1.0, pytest.approx(1.0 - failed.cost_usd)]


def test_a_budget_that_does_not_pay_for_so_many_starts_is_refused_before_anything_is_ordered(track: Track) -> None:
    limits = replace(LIMITS, budget_usd=0.2)
    assert track.failed(sold("no", 2.0), sold("se", 2.0), limits=limits).code == "budget-too-small"
    assert track.ordered == []
    track.fates["no"] = works
    assert track.run(sold("no", 2.0), limits=limits).budget_usd == 0.2


def test_the_attempts_are_those_of_all(track: Track) -> None:
    track.fates = {region: fails(NoCapacity("sold out")) for region in "abcde"}
    assert track.failed(*(sold(region) for region in "abcde"), attempts=3).exit_status is Exit.LAUNCH_FAILED
    assert len(track.ordered) == 3


def test_the_start_deadline_is_that_of_all(track: Track) -> None:
    def late(_fleet: Fleet, _made: Deployment) -> None:
        track.clock.ahead_s = LIMITS.start_deadline_s - 100
        raise NoCapacity("sold out")

    def too_late(_fleet: Fleet, _made: Deployment) -> None:
        wait_for(lambda: len(track.ordered) == 3)
        track.clock.ahead_s = LIMITS.start_deadline_s
        raise NoCapacity("sold out")

    def no_better(_fleet: Fleet, _made: Deployment) -> None:
        wait_for(lambda: track.clock.ahead_s == LIMITS.start_deadline_s)
        raise NoCapacity("sold out")

    track.fates = {"a": late, "b": too_late, "c": no_better, "d": works}
    track.failed(*(sold(region) for region in "abcd"))
    assert len(track.ordered) == 3
    assert 0 < track.ordered[2].limits.start_deadline_s <= 100 < track.ordered[0].limits.start_deadline_s


def test_what_a_killed_race_has_left_is_cleared_away_first(track: Track, sky: Sky) -> None:
    sky.add("gpu-tiny-race-1-1")
    track.fleet.store.add(deployment("tiny-race-1", State.BOOTING, tied=True, ready_at=None, active_at=None))
    track.fates["no"] = works
    kept = track.run(sold("no"), sold("se"))
    assert list(sky.resources) == [kept.resource_name]
    assert ABANDONED in {one.reason for one in track.fleet.store.ended()}


def test_who_looks_at_the_lock_of_a_racer_does_not_keep_it_from_racing(track: Track) -> None:
    sleep = track.clock.sleep

    def look_away(seconds: float) -> None:
        looked_at.release()
        sleep(seconds)

    with released(track.fleet.launch_lock("tiny-race-1")) as looked_at:
        assert looked_at.try_acquire()
        track.clock.sleep = look_away  # type: ignore[method-assign]
        track.fates["no"] = works
        assert track.run(sold("no"), sold("se")).name == "tiny"


def test_a_deployment_that_has_the_name_of_a_racer_is_left_alone(track: Track, sky: Sky) -> None:
    sky.add("gpu-tiny-race-1-1")
    track.fleet.store.add(deployment("tiny-race-1"))
    with pytest.raises(UserError) as error:
        track.run(sold("no"), sold("se"))
    assert error.value.code == "name-taken"
    assert track.ordered == []
    assert list(sky.resources) == ["gpu-tiny-race-1-1"]


def test_when_the_wanted_name_was_taken_meanwhile_nothing_is_kept(track: Track, sky: Sky) -> None:
    def beaten(fleet: Fleet, _made: Deployment) -> None:
        sky.add("gpu-tiny-1")
        fleet.store.add(deployment("tiny"))

    track.fates["no"] = beaten
    with pytest.raises(UserError) as error:
        track.run(sold("no"), sold("se"))
    assert error.value.code == "name-taken"
    assert list(sky.resources) == ["gpu-tiny-1"]


def test_one_is_renamed_only_as_what_it_was_taken_for_and_to_a_free_name(track: Track) -> None:
    store = track.fleet.store
    store.add(deployment("tiny-race-1", tied=True))
    store.add(deployment("tiny"))
    racing = store.get("gpu-tiny-race-1-1")
    with pytest.raises(NameTaken):
        store.rename(racing, "tiny", tied=False)
    with pytest.raises(StateMoved):
        store.rename(replace(racing, state=State.LOADING), "other")
    assert store.get("gpu-tiny-race-1-1") == racing
    assert store.rename(racing, "other", tied=False) == replace(racing, name="other", tied=False)
    assert store.find_live("other") == replace(racing, name="other", tied=False)
