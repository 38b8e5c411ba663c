"""What runs at the clouds and should not, as the guard finds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.orphans import AGAIN_S, EVERY_S, Sweeps, sweep
from gpu_cli.fleet.guard.strangers import Stranger, strangers
from gpu_cli.locks import released
from gpu_providers.base import Resource
from gpu_providers.errors import NotFound, ProviderUnavailable


class Forgetful(Cloud):
    """Its list goes on showing what is gone."""

    def describe(self, resource_id: str) -> Resource:
        raise NotFound(resource_id)


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


@pytest.fixture
def told() -> list[str]:
    return []


def test_what_has_ended_by_the_record_and_still_runs_is_ended(fleet: Fleet, cloud: Cloud, told: list[str]) -> None:
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW, reason="idle"))
    cloud.add("gpu-tiny-1")
    assert sweep(fleet, told.append)
    assert cloud.resources == {}
    assert told == ["gpu-tiny-1 should have ended and still runs at cloud: ending it"]


def test_what_lives_by_the_record_is_left_alone(fleet: Fleet, cloud: Cloud, told: list[str]) -> None:
    fleet.store.add(deployment())
    fleet.store.add(deployment("new", State.LAUNCHING, resource_id=""))
    for name in ("gpu-tiny-1", "gpu-new-1"):
        cloud.add(name)
    assert sweep(fleet, told.append)
    assert (sorted(cloud.resources), told) == (["gpu-new-1", "gpu-tiny-1"], [])


def test_a_second_one_of_a_living_ones_name_is_ended_and_the_first_is_not(
    fleet: Fleet, cloud: Cloud, told: list[str]
) -> None:
    fleet.store.add(deployment(resource_id="id-first"))
    cloud.add("gpu-tiny-1")
    sweep(fleet, told.append)
    assert cloud.terminated == ["id-gpu-tiny-1"]


def test_a_launch_that_is_under_way_sees_to_itself(fleet: Fleet, cloud: Cloud, told: list[str]) -> None:
    fleet.store.add(deployment(state=State.BOOTING, resource_id="id-first", tied=True))
    cloud.add("gpu-tiny-1")
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        sweep(fleet, told.append)
    assert (cloud.terminated, told) == ([], [])


def test_what_only_a_slow_list_shows_is_gone(tmp_path: Path, told: list[str]) -> None:
    cloud = Forgetful()
    fleet = make_fleet(tmp_path, cloud)
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW))
    cloud.add("gpu-tiny-1")
    assert sweep(fleet, told.append)
    assert (cloud.terminated, told) == ([], [])
    fleet.store.close()


def test_what_no_record_here_knows_is_told_of_once_and_never_touched(
    fleet: Fleet, cloud: Cloud, told: list[str]
) -> None:
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW))
    cloud.add("gpu-other-1")
    for _ in range(2):
        assert sweep(fleet, told.append)
    assert (cloud.terminated, strangers(fleet)) == ([], [Stranger("gpu-other-1", "cloud")])
    assert told == ["gpu-other-1 runs at cloud, on no record here: see gpu ls --remote"]
    fleet.store.add(deployment("other"))
    assert strangers(fleet) == []


def test_a_stranger_that_is_gone_is_forgotten_but_not_because_its_cloud_is_silent(
    fleet: Fleet, cloud: Cloud, told: list[str]
) -> None:
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW))
    cloud.add("gpu-other-1")
    sweep(fleet, told.append)
    cloud.trouble = ProviderUnavailable("502")
    assert not sweep(fleet, told.append)
    assert strangers(fleet)
    cloud.trouble = None
    cloud.resources.clear()
    assert sweep(fleet, told.append)
    assert strangers(fleet) == []


def test_clouds_that_are_on_no_record_are_not_asked(fleet: Fleet, cloud: Cloud, told: list[str]) -> None:
    cloud.add("gpu-other-1")
    assert sweep(fleet, told.append)
    assert (told, strangers(fleet)) == ([], [])


class Listing(Cloud):
    """How often it was asked for a list."""

    lists = 0

    def list_resources(self) -> list[Resource]:
        self.lists += 1
        return list(super().list_resources())


@pytest.mark.parametrize(("trouble", "every_s"), [(None, EVERY_S), (ProviderUnavailable("502"), AGAIN_S)])
def test_a_sweep_is_made_at_first_and_again_after_a_while(
    tmp_path: Path, clock: FakeClock, trouble: ProviderUnavailable | None, every_s: float
) -> None:
    cloud = Listing()
    cloud.trouble = trouble
    fleet = make_fleet(tmp_path, cloud, clock)
    fleet.store.add(deployment())
    sweeps = Sweeps(fleet)
    lists = []
    for pass_s in (0.0, every_s - 1, 1.0, -9.0):
        clock.time += pass_s
        sweeps.begin_if_due()
        assert sweeps._sweeping
        sweeps._sweeping.join()
        lists.append(cloud.lists)
    assert lists == [1, 1, 2, 3]
    fleet.store.close()


def test_one_that_cannot_be_ended_keeps_no_other_from_it_and_is_tried_again_soon(
    fleet: Fleet, cloud: Cloud, told: list[str]
) -> None:
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW))
    cloud.add("gpu-tiny-1")
    cloud.terminates = False
    assert not sweep(fleet, told.append)
    cloud.terminates = True
    assert sweep(fleet, told.append)


def test_another_deployments_name_is_not_a_resources_name(fleet: Fleet, cloud: Cloud, told: list[str]) -> None:
    """Anybody may call a deployment as another machine calls a resource."""
    fleet.store.add(deployment("gpu-other-1", State.GONE, ended_at=NOW))
    cloud.add("gpu-other-1")
    assert sweep(fleet, told.append)
    assert cloud.terminated == []
