from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.collect import Leftover, collect
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.recover import adopt


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, FakeClock())
    yield fleet
    fleet.store.close()


def leftover(cloud: Cloud, name: str) -> Leftover:
    return Leftover(name, "cloud", "it should have ended (idle)", None, cloud.resources[name])


def test_what_lives_on_although_its_record_says_that_it_ended_is_destroyed(fleet: Fleet, cloud: Cloud) -> None:
    ended = deployment(state=State.GONE, ended_at=NOW, reason="idle")
    fleet.store.add(ended)
    cloud.add("gpu-tiny-1", name="tiny")
    collect(fleet, leftover(cloud, "gpu-tiny-1"))
    assert cloud.resources == {}
    assert fleet.store.get("gpu-tiny-1") == ended


def test_an_unknown_resource_with_the_name_of_a_living_one_is_destroyed_and_the_living_one_is_not(
    fleet: Fleet, cloud: Cloud
) -> None:
    fleet.store.add(deployment(state=State.READY))
    cloud.add("gpu-tiny-1")
    cloud.add("gpu-tiny-2", name="tiny")
    collect(fleet, leftover(cloud, "gpu-tiny-2"))
    assert set(cloud.resources) == {"gpu-tiny-1"}
    assert fleet.store.get("gpu-tiny-1").state is State.READY


def test_two_running_resources_of_one_name_are_both_put_on_record(fleet: Fleet, cloud: Cloud) -> None:
    first = adopt(fleet, cloud.add("gpu-tiny-1", name="tiny"))
    second = adopt(fleet, cloud.add("gpu-tiny-2", name="tiny"))
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("tiny", "gpu-tiny-2")
    assert {one.resource_name for one in fleet.store.live()} == {"gpu-tiny-1", "gpu-tiny-2"}
