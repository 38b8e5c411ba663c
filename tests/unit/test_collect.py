from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.collect import Leftover, collect, survey
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.recover import adopt
from gpu_providers.errors import NoCredentials


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


def surveyed(fleet: Fleet, cloud: Cloud) -> list[str]:
    """The ids of what is left over at the cloud alone."""
    return [found.resource.resource_id for found in survey(fleet).leftovers if found.resource]


@pytest.fixture
def only_this_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"cloud": None})


@pytest.mark.usefixtures("only_this_cloud")
def test_a_second_resource_of_the_name_of_a_living_one_is_left_over(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(state=State.READY))
    cloud.add("gpu-tiny-1")
    double = replace(cloud.resources["gpu-tiny-1"], resource_id="id-double")
    cloud.resources["double"] = double
    assert surveyed(fleet, cloud) == ["id-double"]
    collect(fleet, Leftover("gpu-tiny-1", "cloud", "", None, double))
    assert list(cloud.resources) == ["gpu-tiny-1"]
    assert fleet.store.get("gpu-tiny-1").state is State.READY


@pytest.mark.usefixtures("only_this_cloud")
def test_what_is_launched_while_the_cloud_is_asked_is_not_left_over(fleet: Fleet, cloud: Cloud) -> None:
    listed = cloud.list_resources

    def launched_meanwhile() -> object:
        fleet.store.add(deployment(state=State.LAUNCHING, resource_id="", tied=False, ready_at=None))
        cloud.add("gpu-tiny-1")
        return listed()

    cloud.list_resources = launched_meanwhile  # type: ignore[method-assign,assignment]
    assert surveyed(fleet, cloud) == []


@pytest.mark.usefixtures("only_this_cloud")
def test_a_cloud_without_credentials_is_unreached_once_something_was_launched_there(fleet: Fleet, cloud: Cloud) -> None:
    cloud.trouble = NoCredentials("there is no key")
    assert survey(fleet).unreached == ()
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW, reason="idle"))
    assert survey(fleet).unreached == ("cloud: there is no key",)
