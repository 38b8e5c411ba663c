"""One order after the other within one set of limits, round after round: clouds in memory, and no waiting."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, FakeClock, make_fleet
from sellers import Seller, offer

from gpu_cli import __version__
from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.launch.called_off import begin_launch, call_off_launches
from gpu_cli.fleet.launch.failover import SHORTEST_BUDGET_S
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt
from gpu_cli.fleet.launch.rounds import FIRST_PAUSE_S, JITTER, LONGEST_PAUSE_S, launch_in_rounds
from gpu_cli.fleet.money import budget_groups
from gpu_cli.locks import Lock, released
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Boot, LaunchRequest, Offer, Resource, Search
from gpu_providers.errors import (
    AuthError,
    CommandCrashed,
    HostFailed,
    InvalidRequest,
    NoCapacity,
    NoCredentials,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)

RECIPE = parse_recipe("model: Qwen/Qwen3-8B\n", Path("/tiny.yaml"), shown="tiny.yaml")
LIMITS = Limits(
    idle_s=600.0,
    ttl_s=7200.0,
    start_deadline_s=1800.0,
    boot_deadline_s=600.0,
    budget_usd=None,
    max_price_usd_per_hour=None,
)
PULLING = Boot(False, "pulling the image")


class House(Seller):
    """Sells, launches and keeps what it has launched, for the price of the offer; nothing listens there."""

    def __init__(self, *offers: Offer, fails: Exception | None = None) -> None:
        super().__init__(*offers, fails=fails)
        self.requests: list[LaunchRequest] = []
        self.most_alive = 0

    def launch(self, request: LaunchRequest) -> Resource:
        self.requests.append(request)
        price = request.offer.price_usd_per_hour
        made = replace(super().launch(request), price_usd_per_hour=price, endpoint="http://127.0.0.1:9")
        self.resources[request.name] = made
        self.most_alive = max(self.most_alive, len(self.resources))
        return made


class Told(Silent):
    """What was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runpod() -> House:
    """With an offer on each of six machines."""
    return House(*(on(f"m{price}", price=float(price)) for price in range(1, 7)))


@pytest.fixture
def fleet(tmp_path: Path, clock: FakeClock, runpod: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """With one cloud installed, and a guard at work, as far as anyone can tell."""
    fleet = make_fleet(tmp_path, clock=clock)
    fleet._loaded["runpod"] = runpod
    monkeypatch.setattr("gpu_providers.registry.available", lambda: dict.fromkeys(set(fleet._loaded) - {"cloud"}))
    with released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield fleet
    fleet.store.close()


def on(host: str, provider: str = "runpod", price: float = 2.0) -> Offer:
    return replace(offer(provider, price), host=host)


class Up:
    """`up(...)` launches; what was tried and told is kept."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.tried: list[Attempt] = []
        self.told = Told()

    def __call__(
        self,
        limits: Limits = LIMITS,
        *,
        recipe: Recipe = RECIPE,
        wait: bool = False,
        provider: str | None = None,
        **wishes: object,
    ) -> Deployment:
        wanted = Wanted(recipe, "tiny", limits, wait=wait, yes=True, **wishes)  # type: ignore[arg-type]
        return launch_in_rounds(self.fleet, wanted, provider, self.told, self.tried)

    def fails(self, limits: Limits = LIMITS, **wishes: object) -> UserError:
        with pytest.raises(UserError) as failed:
            self(limits, **wishes)  # type: ignore[arg-type]
        return failed.value

    @property
    def words(self) -> list[str]:
        return [attempt.failure.word if attempt.failure else "" for attempt in self.tried]


@pytest.fixture
def up(fleet: Fleet) -> Up:
    return Up(fleet)


def after(seconds: float, error: ProviderError, clock: FakeClock) -> Callable[[str], Boot]:
    """Every host boots for so long and then fails."""
    began: dict[str, float] = {}

    def boot(resource_id: str) -> Boot:
        if clock.now() - began.setdefault(resource_id, clock.now()) < seconds:
            return replace(PULLING, detail=str(clock.now()))
        raise error

    return boot


def test_what_was_tried_is_on_record_with_its_word_its_time_and_its_cost(
    fleet: Fleet, up: Up, runpod: House, clock: FakeClock
) -> None:
    runpod.launches = [NoCapacity("sold out")]
    runpod.boot = after(30, HostFailed("exited"), clock)  # type: ignore[method-assign]
    assert up.fails(wait=True).exit_status is Exit.NEVER_HEALTHY
    assert up.words == ["no-capacity", "host-failed", "host-failed", "host-failed"]
    sold_out, first, *_ = up.tried
    assert (sold_out.seconds, sold_out.cost_usd) == (0.0, 0.0)
    assert first.seconds == pytest.approx(30, abs=3)
    assert first.cost_usd == pytest.approx(first.offer.price_usd_per_hour * first.seconds / 3600, rel=0.1)
    assert [one.failure for one in reversed(fleet.store.ended())] == up.words
    assert (runpod.most_alive, runpod.resources) == (1, {})


def test_what_is_up_is_told_as_tried_too(up: Up, runpod: House) -> None:
    runpod.launches = [NoCapacity("sold out")]
    made = up()
    assert [(attempt.offer.host, attempt.error is None) for attempt in up.tried] == [("m1", False), ("m2", True)]
    assert (made.host, made.failure) == ("m2", "")


def test_the_next_start_has_what_is_left_of_the_start_deadline(
    fleet: Fleet, up: Up, runpod: House, clock: FakeClock
) -> None:
    runpod.boot = after(60, HostFailed("exited"), clock)  # type: ignore[method-assign]
    failed = up.fails(replace(LIMITS, start_deadline_s=100.0), wait=True)
    assert (failed.exit_status, failed.code) == (Exit.NEVER_HEALTHY, "start-deadline")
    assert up.words == ["host-failed", "start-deadline"]
    assert clock.now() - NOW == pytest.approx(100, abs=5)
    assert fleet.store.live() == []


def test_nothing_is_ordered_when_nothing_is_left_of_the_start_deadline(up: Up, runpod: House, clock: FakeClock) -> None:
    def fail(_: str) -> Boot:
        clock.time += 900
        raise HostFailed("exited")

    runpod.boot = fail  # type: ignore[method-assign]
    assert up.fails(replace(LIMITS, start_deadline_s=900.0), wait=True).code == "start-deadline"
    assert len(runpod.requests) == 1


def test_what_failed_starts_cost_is_taken_off_the_budget_of_the_next(fleet: Fleet, up: Up, runpod: House) -> None:
    runpod.boots = [PULLING, HostFailed("exited")]
    up(replace(LIMITS, budget_usd=50.0))
    (deployment,) = fleet.store.live()
    assert deployment.budget_usd == 50.0
    fleet.store.move(deployment, State.FAILED, at=NOW)
    up.tried[:] = [replace(up.tried[0], error=NoCapacity("x"), cost_usd=20.0)]
    assert up(replace(LIMITS, budget_usd=50.0)).budget_usd == 30.0


def test_a_budget_that_failed_starts_have_used_up_ends_it_before_the_next_order(
    up: Up, runpod: House, clock: FakeClock
) -> None:
    def fail(_: str) -> Boot:
        clock.time += 600
        raise HostFailed("exited")

    runpod.boot = fail  # type: ignore[method-assign]
    price = runpod.sold[0].price_usd_per_hour
    enough_for_one = price * (600 + SHORTEST_BUDGET_S) / 3600
    failed = up.fails(replace(LIMITS, budget_usd=enough_for_one), wait=True)
    assert (failed.exit_status, failed.code) == (Exit.LIMIT_REACHED, "budget-too-small")
    assert "for starts that failed" in failed.message
    assert len(runpod.requests) == 1


def test_a_group_without_room_orders_nothing_and_one_with_room_is_joined(fleet: Fleet, up: Up, runpod: House) -> None:
    budget_groups.join(fleet.store, "pipeline=0.01")
    failed = up.fails(budget_group="pipeline")
    assert (failed.exit_status, failed.code, runpod.requests) == (Exit.LIMIT_REACHED, "budget-group", [])
    budget_groups.join(fleet.store, "pipeline=10")
    assert up(budget_group="pipeline").budget_group == "pipeline"


def test_so_many_orders_and_no_more(up: Up, runpod: House) -> None:
    runpod.launches = [NoCapacity("sold out")] * 9
    failed = up.fails(attempts=2)
    assert (failed.exit_status, len(runpod.requests)) == (Exit.LAUNCH_FAILED, 2)
    assert up.fails(attempts=2, retry_until_up=True).exit_status is Exit.LAUNCH_FAILED
    assert len(runpod.requests) == 2


def test_a_diagnosis_of_the_engine_ends_it_and_one_of_memory_asks_for_more_of_it(up: Up, runpod: House) -> None:
    larger = replace(offer("runpod", 9.0), gpu="H200", gpu_memory_gib=141.0, host="m9")
    runpod.sold = (*runpod.sold, larger)
    runpod.logged = ["torch.OutOfMemoryError: CUDA out of memory."]
    runpod.boots = [CommandCrashed("exited")]
    failed = up.fails(wait=True)
    assert (failed.exit_status, failed.code) == (Exit.NEVER_HEALTHY, "out-of-memory")
    assert [request.offer.gpu for request in runpod.requests] == ["H100", "H200"]
    runpod.requests.clear()
    up.tried.clear()
    runpod.logged = ["GatedRepoError"]
    assert up.fails(wait=True).code == "gated"
    assert len(runpod.requests) == 1


@pytest.mark.parametrize("names", [["tiny"], []])
def test_what_is_ended_between_two_orders_is_not_ordered_again(
    fleet: Fleet, up: Up, runpod: House, clock: FakeClock, names: list[str]
) -> None:
    """`gpu down` finds nothing on record that could be ended."""
    runpod.launches = [NoCapacity("sold out")] * 9
    clock.on_sleep = lambda: call_off_launches(fleet, names)
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        assert up.fails(retry_until_up=True).code == "ended-while-starting"
        assert (len(runpod.searches), len(runpod.requests)) == (1, 6)
        begin_launch(fleet, "tiny")
        runpod.launches.clear()
        assert up().is_live


def test_what_others_end_while_it_starts_is_not_tried_again(
    fleet: Fleet, up: Up, runpod: House, clock: FakeClock
) -> None:
    def ended_by_another(_: str) -> Boot:
        (deployment,) = fleet.store.live()
        fleet.store.move(deployment, State.TERMINATING, at=NOW, reason="gpu down")
        return PULLING

    runpod.launches, runpod.boot = [NoCapacity("sold out")], ended_by_another  # type: ignore[method-assign]
    assert up.fails(wait=True, retry_until_up=True).code == "ended-while-starting"
    assert (len(runpod.searches), up.words) == (1, ["no-capacity"])


def test_what_is_ended_while_it_is_put_on_record_is_not_ordered(fleet: Fleet, up: Up, runpod: House) -> None:
    add = fleet.store.add

    def just_now(deployment: Deployment) -> None:
        call_off_launches(fleet, ["tiny"])
        add(deployment)

    fleet.store.add = just_now  # type: ignore[method-assign]
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        assert up.fails().code == "ended-while-starting"
    assert (runpod.requests, fleet.store.live()) == ([], [])


def test_a_launch_is_not_called_off_by_what_was_said_when_nobody_launched(fleet: Fleet, up: Up) -> None:
    call_off_launches(fleet, ["tiny"])
    call_off_launches(fleet, [])
    assert up().is_live


def test_an_order_goes_only_where_the_user_wants_it(up: Up, runpod: House) -> None:
    runpod.sold = (replace(on("m1"), region="EU-RO-1, US-KS-2, US-TX-3"), replace(on("m2"), region="EU-RO-1"))
    up(region="us")
    (request,) = runpod.requests
    assert (request.offer.host, request.regions) == ("m1", ("US-KS-2", "US-TX-3"))


def test_an_order_goes_only_where_both_the_recipe_and_the_user_want_it(up: Up, runpod: House) -> None:
    runpod.sold = (replace(on("m1"), region="EU-RO-1, US-KS-2"), replace(on("m2"), region="CA-MTL-1, EU-RO-1, US-KS-2"))
    kept = RECIPE.model_copy(update={"regions": ("ca", "eu")})
    assert up.fails(recipe=kept, region="us").exit_status is Exit.NOTHING_FITS
    up(recipe=kept, region="ca")
    (request,) = runpod.requests
    assert (request.offer.host, request.regions) == ("m2", ("CA-MTL-1",))


def pauses(clock: FakeClock, runpod: House) -> list[float]:
    """What is waited for from now on, from one search to the next."""
    waited: list[float] = []
    offers, asked_at = runpod.offers, []

    def timed(search: Search) -> Sequence[Offer]:
        waited.extend(clock.now() - at for at in asked_at[-1:])
        asked_at.append(clock.now())
        return offers(search)

    runpod.offers = timed  # type: ignore[method-assign]
    return waited


def test_it_asks_again_until_it_is_up_and_waits_longer_each_time(up: Up, runpod: House, clock: FakeClock) -> None:
    runpod.sold = runpod.sold[:1]
    runpod.launches = [NoCapacity("sold out")] * 7
    waited = pauses(clock, runpod)
    assert up(retry_until_up=True).is_live
    expected = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(7)]
    assert [(1 - JITTER) * each <= one <= (1 + JITTER) * each for one, each in zip(waited, expected, strict=True)]
    assert len(runpod.searches) == 8
    assert sum("asking again in" in note for note in up.told.notes) == 7


def test_without_being_told_to_it_does_not_ask_again(up: Up, runpod: House) -> None:
    runpod.launches = [NoCapacity("sold out")] * 9
    up.fails()
    assert len(runpod.searches) == 1


@pytest.mark.parametrize(
    "sold", [(), (on("m1", price=99.0),), (replace(on("m1"), gpu="L4", gpu_memory_gib=12.0),)], ids=len
)
def test_what_is_not_for_sale_now_is_waited_for(up: Up, runpod: House, clock: FakeClock, sold: tuple[Offer]) -> None:
    good, runpod.sold = runpod.sold, sold
    clock.on_sleep = lambda: setattr(runpod, "sold", good)
    assert up(replace(LIMITS, max_price_usd_per_hour=5.0), retry_until_up=True).is_live
    assert len(runpod.searches) == 2


def test_a_cloud_that_does_not_answer_is_asked_again(up: Up, runpod: House, clock: FakeClock) -> None:
    runpod.fails = ProviderUnavailable("down")
    clock.on_sleep = lambda: setattr(runpod, "fails", None)
    assert up(retry_until_up=True).is_live


@pytest.mark.parametrize("error", [AuthError("401"), QuotaExceeded("limit"), InvalidRequest("no such volume")])
def test_what_time_does_not_mend_is_not_tried_again(up: Up, runpod: House, error: ProviderError) -> None:
    runpod.launches = [error] * 9
    up.fails(retry_until_up=True)
    assert (len(runpod.searches), len(runpod.requests)) == (1, 1)


def test_without_credentials_nobody_is_asked_again(up: Up, runpod: House) -> None:
    runpod.fails = NoCredentials("no key")
    assert up.fails(retry_until_up=True).exit_status is Exit.CREDENTIALS
    assert len(runpod.searches) == 1


def test_a_model_that_fits_on_nothing_that_is_sold_anywhere_is_not_waited_for(
    up: Up, runpod: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    runpod.sold = ()
    monkeypatch.setattr("gpu_cli.fleet.launch.rounds.snapshot_offers", lambda: [replace(on("m1"), gpu_memory_gib=12.0)])
    assert up.fails(retry_until_up=True).exit_status is Exit.NOTHING_FITS
    assert len(runpod.searches) == 1


def test_a_pause_that_is_no_time_is_refused_before_anybody_is_asked(fleet: Fleet, runpod: House) -> None:
    failed = Up(replace(fleet, environ={"GPU_RETRY_PAUSE_S": "soon"})).fails()
    assert (failed.exit_status, failed.hint != "", runpod.searches) == (Exit.BAD_INPUT, True, [])


def test_what_only_another_cloud_sells_is_not_waited_for(
    up: Up, runpod: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    runpod.sold = ()
    everywhere = [replace(on("m1"), gpu_memory_gib=12.0), on("v1", "vast")]
    monkeypatch.setattr("gpu_cli.fleet.launch.rounds.snapshot_offers", lambda: everywhere)
    assert up.fails(provider="runpod", retry_until_up=True).exit_status is Exit.NOTHING_FITS
    assert len(runpod.searches) == 1


def test_what_failed_for_good_is_not_tried_in_later_rounds(fleet: Fleet, up: Up, runpod: House) -> None:
    vast = House(on("v1", "vast", 0.5))
    fleet._loaded["vast"] = vast
    vast.launches = [AuthError("401")] * 9
    runpod.sold, runpod.launches = runpod.sold[:1], [NoCapacity("sold out")] * 2
    assert up(retry_until_up=True).provider == "runpod"
    assert (len(vast.requests), len(runpod.requests)) == (1, 3)


def test_a_cloud_that_asks_for_patience_is_left_alone_for_so_long(up: Up, runpod: House, clock: FakeClock) -> None:
    runpod.launches = [RateLimited("429", retry_after_s=500.0)]
    waited = pauses(clock, runpod)
    assert up(retry_until_up=True).is_live
    assert waited == pytest.approx([500.0])


def test_a_cloud_that_is_asked_for_offers_too_often_is_left_alone_for_so_long(
    up: Up, runpod: House, clock: FakeClock
) -> None:
    runpod.fails = RateLimited("429", retry_after_s=500.0)
    clock.on_sleep = lambda: setattr(runpod, "fails", None)
    waited = pauses(clock, runpod)
    assert up(retry_until_up=True).is_live
    assert waited == pytest.approx([500.0])


def test_the_first_pause_may_be_another_one(fleet: Fleet, runpod: House, clock: FakeClock) -> None:
    runpod.launches = [NoCapacity("sold out")] * 6
    waited = pauses(clock, runpod)
    assert Up(replace(fleet, environ={"GPU_RETRY_PAUSE_S": "0.1"}))(retry_until_up=True).is_live
    assert 0 < waited[0] <= 0.1 * (1 + JITTER)


def test_what_is_ended_during_a_pause_gives_up_at_once(fleet: Fleet, up: Up, runpod: House, clock: FakeClock) -> None:
    runpod.fails = RateLimited("429", retry_after_s=500.0)
    clock.on_sleep = lambda: call_off_launches(fleet, ["tiny"])
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        assert up.fails(retry_until_up=True).code == "ended-while-starting"
    assert clock.now() <= NOW + 2


def test_ctrl_c_between_two_rounds_leaves_nothing(fleet: Fleet, up: Up, runpod: House, clock: FakeClock) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    runpod.launches, clock.on_sleep = [NoCapacity("sold out")] * 6, press
    with pytest.raises(KeyboardInterrupt):
        up(retry_until_up=True)
    assert (runpod.resources, fleet.store.live()) == ({}, [])
