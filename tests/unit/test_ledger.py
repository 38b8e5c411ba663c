"""What the ledger says was spent, against what the clouds charge: the clock of the fleet is that of the cloud."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import lambda_account
import modal_account
import pytest
import runpod_account
import vast_account
from driver import wait_until
from emulators.cloud import Cloud as EmulatedCloud
from emulators.lambda_cloud import LambdaEmulator
from emulators.modal_cloud import ModalEmulator
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.reconcile import look
from gpu_cli.fleet.end.teardown import finish, tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.money.ledger import By, costs, entries_since
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths
from gpu_providers.base import Kind, LaunchRequest, Provider, Resource, ResourceState
from gpu_providers.errors import ProviderUnavailable

NAME = "gpu-tiny-1"
HOUR_S = 3600.0


class InStep(Clock):
    """Time passes at the cloud by waiting for it here."""

    def __init__(self, cloud: EmulatedCloud) -> None:
        self.cloud = cloud

    def now(self) -> float:
        return self.cloud.clock.now()

    def sleep(self, seconds: float) -> None:
        self.cloud.clock.advance(seconds)


@contextmanager
def rented(
    cloud: EmulatedCloud, provider: Provider, request: LaunchRequest, home: Path, **changes: object
) -> Iterator[Fleet]:
    """A fleet with one deployment, which the cloud has just accepted."""
    paths, clock = Paths(home / "config", home / "state", home / "cache"), InStep(cloud)
    ordered_at = clock.now()
    made = provider.launch(request)
    with closing(Store(paths.state / "gpu.db").open()) as store:
        fleet = Fleet(paths, {}, store, clock, {provider.name: provider})
        store.add(replace(on_record(made, request, ordered_at), **changes))  # type: ignore[arg-type]
        yield fleet


def on_record(made: Resource, request: LaunchRequest, ordered_at: float) -> Deployment:
    times = {"created_at": ordered_at, "launched_at": ordered_at, "deadline_at": ordered_at + 100 * HOUR_S}
    price = request.offer.price_usd_per_hour
    where = {"provider": made.provider, "kind": request.offer.kind, "resource_id": made.resource_id}
    return deployment(state=State.BOOTING, ready_at=None, active_at=None, price_usd_per_hour=price, **times, **where)


def live(fleet: Fleet, seconds: float, every_s: float) -> None:
    """So long, with a look now and then."""
    for _ in range(round(seconds / every_s)):
        look(fleet, fleet.store.get(NAME))
        fleet.clock.sleep(every_s)


def end(fleet: Fleet) -> float:
    """What the ledger says that it has cost in all, now that it is gone."""
    ended = tear_down(fleet, fleet.store.get(NAME), "gpu down")
    assert ended.metered_usd == pytest.approx(total_usd(fleet))
    assert ended.spent_usd(fleet.clock.now() + HOUR_S) == ended.metered_usd
    return total_usd(fleet)


def total_usd(fleet: Fleet) -> float:
    return sum(row.usd for row in costs(entries_since(fleet.store, 0.0, fleet.clock.now()), By.RECIPE))


# --- the four clouds --------------------------------------------------------------------------------------------------


def test_vast_bills_only_the_disk_of_what_boots_and_a_price_that_rises_counts_from_then_on(tmp_path: Path) -> None:
    with VastEmulator(boot_s=330) as cloud:
        provider = vast_account.provider_at(cloud, tmp_path)
        request = vast_account.request_of(vast_account.offer_of(provider), NAME)
        with rented(cloud, provider, request, tmp_path) as fleet:
            live(fleet, 300, 5)
            booted_usd = fleet.store.get(NAME).spent_usd(fleet.clock.now())
            assert booted_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)
            assert booted_usd < request.offer.price_usd_per_hour * 300 / 3600 / 4, "not the price of its GPUs"
            live(fleet, 30, 5)
            wait_until(lambda: provider.describe(fleet.store.get(NAME).resource_id).state is ResourceState.RUNNING)
            live(fleet, HOUR_S, 120)
            before, before_usd = fleet.store.get(NAME), fleet.store.get(NAME).spent_usd(fleet.clock.now())
            cloud.raise_price(NAME, 2.0)
            look(fleet, before)
            after = fleet.store.get(NAME)
            assert after.price_usd_per_hour > 1.8 * before.price_usd_per_hour
            assert after.spent_usd(fleet.clock.now()) == pytest.approx(before_usd, rel=0.001), "the past stays"
            live(fleet, HOUR_S, 360)
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


def test_vast_bills_the_disk_of_what_was_outbid_until_it_is_destroyed(tmp_path: Path) -> None:
    with VastEmulator(boot_s=0) as cloud:
        provider = vast_account.provider_at(cloud, tmp_path)
        request = vast_account.request_of(vast_account.offer_of(provider), NAME)
        with rented(cloud, provider, request, tmp_path) as fleet:
            live(fleet, HOUR_S, 600)
            cloud.outbid(NAME)
            live(fleet, 3 * HOUR_S, 1800)
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


@pytest.mark.parametrize("lived_s", [2 * HOUR_S, 90.0])
def test_lambda_bills_from_when_it_is_up_and_whole_minutes(tmp_path: Path, lived_s: float) -> None:
    with LambdaEmulator(boot_s=300) as cloud:
        provider = lambda_account.provider_at(cloud, tmp_path)
        request = lambda_account.request_of(lambda_account.offer_of(provider), NAME)
        with rented(cloud, provider, request, tmp_path) as fleet:
            live(fleet, 300, 5)
            assert fleet.store.get(NAME).spent_usd(fleet.clock.now()) == pytest.approx(0, abs=0.05)
            live(fleet, lived_s, lived_s / 9)
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


def test_runpod_bills_from_the_order_on(tmp_path: Path) -> None:
    with RunPodEmulator(boot_s=900) as cloud:
        provider = runpod_account.provider_at(cloud, tmp_path)
        request = runpod_account.pod_request(runpod_account.offer_of(provider), NAME)
        with rented(cloud, provider, request, tmp_path) as fleet:
            live(fleet, HOUR_S, 1800)
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


def test_a_worker_that_comes_and_goes_is_on_the_ledger_for_as_long_as_it_ran(tmp_path: Path) -> None:
    with RunPodEmulator(boot_s=0) as cloud:
        provider = runpod_account.provider_at(cloud, tmp_path)
        offer = runpod_account.offer_of(provider, runpod_account.H100, kind=Kind.SERVERLESS)
        asked = {"entrypoint": (), "command": ("acme/model", "--port", "8000"), "env": {}, "idle_s": 900.0}
        request = runpod_account.pod_request(offer, NAME, **asked)
        with rented(cloud, provider, request, tmp_path, metered_usd=0.0, metered_at=cloud.clock.now()) as fleet:
            live(fleet, HOUR_S, 600)
            assert total_usd(fleet) == 0, "it sleeps"
            live(fleet, 5, 5)
            wake(cloud, fleet)
            live(fleet, 600, 5)
            assert total_usd(fleet) == pytest.approx(cloud.bill()["usd"], rel=0.01)
            live(fleet, 5, 5)
            wake(cloud, fleet)
            fleet.clock.sleep(300)  # nobody looks but who ends it
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


def wake(cloud: RunPodEmulator, fleet: Fleet) -> None:
    """By a request, whatever it is answered."""
    url = f"{fleet.provider('runpod').describe(fleet.store.get(NAME).resource_id).endpoint}/health"
    httpx.get(url, headers={"Authorization": f"Bearer {cloud.key}"}, timeout=20)
    assert fleet.provider("runpod").describe(fleet.store.get(NAME).resource_id).price_usd_per_hour > 0


def test_modals_containers_are_on_the_ledger_from_the_first_that_the_launch_itself_has_woken(tmp_path: Path) -> None:
    with ModalEmulator() as cloud:
        provider = modal_account.provider_at(cloud, tmp_path)
        request = modal_account.request_of(modal_account.offer_of(provider), NAME)
        with rented(cloud, provider, request, tmp_path, metered_usd=0.0, metered_at=cloud.clock.now()) as fleet:
            resource_id = fleet.store.get(NAME).resource_id
            live(fleet, 30, 5)
            wait_until(lambda: provider.describe(resource_id).price_usd_per_hour > 0)
            fleet.clock.sleep(1200)
            spent_usd = end(fleet)
        assert spent_usd == pytest.approx(cloud.bill()["usd"], rel=0.01)


# --- on record --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    with closing(fleet.store):
        yield fleet


def stretches(fleet: Fleet) -> list[tuple[float, float, float]]:
    rows = fleet.store.rows("SELECT since, until, usd_per_hour FROM ledger ORDER BY since")
    return [(row[0] - NOW, row[1] - NOW, row[2]) for row in rows]


def test_looks_that_say_the_same_are_one_stretch_and_what_cost_nothing_is_none(fleet: Fleet) -> None:
    fleet.store.add(deployment(state=State.BOOTING, ready_at=None))
    for minute, usd_per_hour in enumerate([0.0, 0.0, 0.5, 0.5, 2.0, 2.0, 2.0, 3.0], start=1):
        fleet.store.meter(NAME, usd_per_hour, at=NOW + 60 * minute)
    fleet.store.move(fleet.store.get(NAME), State.FAILED, at=NOW + 600, ended_at=NOW + 600)
    assert stretches(fleet) == [(120, 240, 0.5), (240, 480, 2.0), (480, 600, 3.0)]


@settings(max_examples=25, deadline=None)
@given(
    looks=st.lists(st.tuples(st.floats(0.1, 5000), st.sampled_from([0.0, 0.1, 2.0, 7.5])), max_size=12),
    kind=st.sampled_from([Kind.POD, Kind.SERVERLESS]),
    ready=st.booleans(),
)
def test_the_ledger_adds_up_to_what_the_record_says_and_no_look_takes_back_what_was_spent(
    tmp_path_factory: pytest.TempPathFactory, looks: list[tuple[float, float]], kind: Kind, ready: bool
) -> None:
    fleet = make_fleet(tmp_path_factory.mktemp("fleet"))
    with closing(fleet.store):
        fleet.store.add(deployment(kind=kind, ready_at=NOW if ready else None))
        at, spent_usd = NOW, 0.0
        for pause_s, usd_per_hour in looks:
            at += pause_s
            looked = fleet.store.meter(NAME, usd_per_hour, at=at)
            assert (looked.metered_usd or 0.0) >= spent_usd - 1e-9
            spent_usd = looked.metered_usd or 0.0
            in_all = sum(one.usd for one in costs(entries_since(fleet.store, 0.0, at), By.DAY))
            assert in_all == pytest.approx(looked.spent_usd(at))
        ended = fleet.store.move(fleet.store.get(NAME), State.GONE, at=at + 100, ended_at=at + 100)
        written = sum((until - since) / 3600 * usd for since, until, usd in stretches(fleet))
        assert written == pytest.approx(ended.spent_usd(at + 1e6))


def test_what_is_begun_of_the_step_of_its_cloud_is_billed_whole(fleet: Fleet) -> None:
    fleet.store.add(deployment(provider="lambda", kind=Kind.VM, price_usd_per_hour=3.6))
    fleet.store.meter(NAME, 3.6, at=NOW + 10)
    ended = fleet.store.move(fleet.store.get(NAME), State.GONE, at=NOW + 61, ended_at=NOW + 61)
    assert ended.spent_usd(NOW + 61) == pytest.approx(0.12)


def test_a_look_that_comes_in_after_the_end_changes_nothing(fleet: Fleet) -> None:
    """Another process may have asked before it ended, and been slow."""
    fleet.store.add(deployment(kind=Kind.SERVERLESS, metered_usd=1.0, metered_at=NOW))
    ended = fleet.store.move(fleet.store.get(NAME), State.GONE, at=NOW + 5, ended_at=NOW + 5)
    assert fleet.store.meter(NAME, 9.0, at=NOW + HOUR_S) == ended
    assert stretches(fleet) == []


def test_what_was_refused_has_cost_nothing(fleet: Fleet) -> None:
    fleet.store.add(deployment(state=State.LAUNCHING, ready_at=None))
    fleet.store.update(NAME, launched_at=None)
    assert finish(fleet, fleet.store.get(NAME), reason="sold out").spent_usd(NOW + 999) == 0
    assert stretches(fleet) == []


def test_a_day_ends_at_midnight_in_utc(fleet: Fleet) -> None:
    midnight = (NOW // 86400 + 1) * 86400
    fleet.store.add(deployment(launched_at=midnight - HOUR_S, price_usd_per_hour=2.0))
    entries = entries_since(fleet.store, 0.0, midnight + 2 * HOUR_S)
    first, second = costs(entries, By.DAY)
    assert (first.usd, first.hours, second.usd, second.hours) == (2.0, 1.0, 4.0, 2.0)
    assert first.key < second.key
    assert [row.usd for row in costs(entries, By.RECIPE)] == [6.0]


def test_a_report_begins_where_it_is_told_to_and_adds_up_what_it_is_asked_for(fleet: Fleet) -> None:
    fleet.store.add(deployment("one", provider="cloud", budget_group="ci"))
    fleet.store.add(deployment("two", provider="other", price_usd_per_hour=4.0))
    entries = entries_since(fleet.store, NOW + HOUR_S, NOW + 2 * HOUR_S)
    for by, key in ((By.PROVIDER, "other"), (By.RECIPE, "two"), (By.DEPLOYMENT, "two"), (By.GROUP, "")):
        dearest, other = costs(entries, by)
        assert (dearest.key, dearest.usd, other.usd, other.deployments) == (key, 4.0, 2.0, 1)


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said", "ended_s"),
    [
        ({"own_stop_armed": True}, "idle", 600 + 60),
        ({"own_stop_armed": True}, "deadline", 3600 + 60),
        ({"own_stop_armed": True, "kind": Kind.SERVERLESS, "metered_usd": 0.0}, "", 30_000),
        ({}, "", 30_000),
    ],
)
def test_an_end_that_is_noticed_late_is_dated_no_later_than_its_own_stop_allows(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, changes: dict[str, object], said: str, ended_s: float
) -> None:
    fleet.store.add(deployment(deadline_at=NOW + (3600 if said == "deadline" else 9000), **changes))
    cloud.logged = [f"[supervisor] ended reason={said}"]
    clock.time = NOW + 30_000
    ended, _ = look(fleet, fleet.store.get(NAME))
    assert not ended.is_live
    assert ended.ended_at == NOW + ended_s


def test_what_lives_on_although_it_should_have_ended_itself_is_counted_until_it_was_last_seen(
    fleet: Fleet, cloud: Cloud, clock: FakeClock
) -> None:
    fleet.store.add(deployment(deadline_at=NOW + 9000, own_stop_armed=True))
    cloud.logged = ["[supervisor] ended reason=idle"]
    cloud.add(NAME)
    clock.time = NOW + 2000
    look(fleet, fleet.store.get(NAME))
    cloud.resources.clear()
    clock.time = NOW + 2030
    ended, _ = look(fleet, fleet.store.get(NAME))
    assert ended.ended_at == NOW + 2000
    assert ended.spent_usd(clock.time) >= 2000 / 3600 * ended.price_usd_per_hour


def test_what_cannot_be_asked_what_it_has_cost_is_ended_all_the_same(
    fleet: Fleet, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def describe(resource_id: str) -> Resource:
        asked.append(resource_id)
        if len(asked) == 1:
            raise ProviderUnavailable("busy")
        return Cloud.describe(cloud, resource_id)

    monkeypatch.setattr(cloud, "describe", describe)
    fleet.store.add(deployment(kind=Kind.SERVERLESS))
    cloud.add(NAME)
    assert tear_down(fleet, fleet.store.get(NAME), "gpu down").state is State.GONE
    assert cloud.resources == {}


def test_whoever_is_killed_while_it_forgets_what_is_gone_leaves_it_on_record_for_the_next_one(
    fleet: Fleet, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []

    def killed(name: str) -> None:
        forgotten.append(name)
        if len(forgotten) == 1:
            raise SystemExit

    monkeypatch.setattr(cloud, "forget", killed)
    fleet.store.add(deployment())
    cloud.add(NAME)
    with pytest.raises(SystemExit):
        tear_down(fleet, fleet.store.get(NAME), "gpu down")
    assert fleet.store.get(NAME).state is State.TERMINATING
    assert tear_down(fleet, fleet.store.get(NAME), "gpu down").state is State.GONE
    assert forgotten == [NAME, NAME]
