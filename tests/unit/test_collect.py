from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.collect import Leftover, collect, collect_all, forget_at_clouds, forget_keys, survey
from gpu_cli.fleet.end.inventory import take_inventory
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.keys import Keys
from gpu_cli.locks import released
from gpu_providers.base import Resource, ResourceState
from gpu_providers.errors import Incomplete, NoCredentials, ProviderUnavailable


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


def test_a_stranger_that_is_to_be_destroyed_is_on_record_as_that_before_anything_is_asked_of_its_cloud(
    fleet: Fleet, cloud: Cloud
) -> None:
    made, states = cloud.add("gpu-tiny-1", name="tiny"), list[State]()
    terminate = cloud.terminate

    def seen(resource_id: str) -> None:
        with fleet.apart() as apart:
            states.append(apart.store.get("gpu-tiny-1").state)
        terminate(resource_id)

    cloud.terminate = seen  # type: ignore[method-assign]
    assert collect_all(fleet, [Leftover("gpu-tiny-1", "cloud", "it is not on record", None, made)]) == [None]
    assert states == [State.TERMINATING]
    assert fleet.store.get("gpu-tiny-1").reason == "it is not on record"


def surveyed(fleet: Fleet, cloud: Cloud) -> list[str]:
    """The ids of what is left over at the cloud alone."""
    return [found.resource.resource_id for found in survey(fleet).leftovers if found.resource]


@pytest.fixture
def only_this_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"cloud": None})


@pytest.fixture
def two_clouds(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> Cloud:
    """The second one."""
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"cloud": None, "other": None})
    other = fleet._loaded["other"] = Cloud()
    return other


@pytest.mark.usefixtures("only_this_cloud")
def test_what_is_on_record_and_healthy_is_left_alone(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    found = survey(fleet)
    assert (found.leftovers, found.finished, found.inventory.unreached) == ((), (), {})


@pytest.mark.usefixtures("only_this_cloud")
def test_a_record_of_what_its_cloud_does_not_have_is_finished(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    found = survey(fleet)
    assert [one.resource_name for one in found.finished] == ["gpu-tiny-1"]
    assert found.leftovers == ()
    assert not fleet.store.get("gpu-tiny-1").is_live


@pytest.mark.usefixtures("only_this_cloud")
def test_what_a_list_does_not_show_yet_is_asked_for_and_not_finished(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    cloud.add("gpu-tiny-1")
    cloud.list_resources = list  # type: ignore[method-assign]
    assert survey(fleet).finished == ()
    assert fleet.store.get("gpu-tiny-1").is_live


@pytest.mark.usefixtures("only_this_cloud")
def test_a_cloud_that_does_not_tell_of_what_its_list_lacks_counts_as_not_reached(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())

    def silent(_: str) -> Resource:
        raise ProviderUnavailable("it is down")

    cloud.describe = silent  # type: ignore[method-assign]
    found = survey(fleet)
    assert (found.finished, found.leftovers) == ((), ())
    assert found.inventory.unreached == {"cloud": "it is down"}


@pytest.mark.usefixtures("only_this_cloud")
def test_what_should_have_ended_is_left_over_with_the_reason(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment(deadline_at=NOW - 1))
    cloud.add("gpu-tiny-1")
    (found,) = survey(fleet).leftovers
    assert (found.why, found.is_adoptable) == ("deadline", False)
    assert collect_all(fleet, [found]) == [None]
    assert cloud.resources == {}


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
        with fleet.apart() as apart:
            apart.store.add(deployment(state=State.LAUNCHING, resource_id="", tied=False, ready_at=None))
        cloud.add("gpu-tiny-1")
        return listed()

    cloud.list_resources = launched_meanwhile  # type: ignore[method-assign,assignment]
    assert surveyed(fleet, cloud) == []


@pytest.mark.usefixtures("only_this_cloud")
@pytest.mark.parametrize("resource_id", ["", "id-gpu-tiny-1", "id-of-an-earlier-create"])
def test_a_launch_that_is_under_way_here_is_left_to_its_launcher(fleet: Fleet, cloud: Cloud, resource_id: str) -> None:
    starting = deployment(state=State.BOOTING, resource_id=resource_id, tied=True, ready_at=None, deadline_at=NOW - 1)
    fleet.store.add(starting)
    cloud.add("gpu-tiny-1", state=ResourceState.BROKEN)
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        found = survey(fleet)
    assert (found.leftovers, found.finished) == ((), ())
    assert survey(fleet).leftovers != ()


@pytest.mark.usefixtures("only_this_cloud")
def test_only_a_stranger_with_which_nothing_is_wrong_can_be_adopted(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment("ended", state=State.GONE, ended_at=NOW, reason="idle"))
    for name in ("healthy", "ended"):
        cloud.add(f"gpu-{name}-1", deadline_at=str(NOW + 1))
    cloud.add("gpu-late-1", deadline_at=str(NOW - 1))
    cloud.add("gpu-broken-1", state=ResourceState.BROKEN, deadline_at=str(NOW + 1))
    found = {one.resource_name: (one.why, one.is_adoptable) for one in survey(fleet).leftovers}
    assert found == {
        "gpu-healthy-1": ("it is not on record", True),
        "gpu-ended-1": ("it should have ended (idle)", False),
        "gpu-late-1": ("it is not on record", False),
        "gpu-broken-1": ("it is not on record", False),
    }


@pytest.mark.usefixtures("only_this_cloud")
def test_a_cloud_without_credentials_is_unreached_once_something_was_launched_there(fleet: Fleet, cloud: Cloud) -> None:
    cloud.trouble = NoCredentials("there is no key")
    assert survey(fleet).inventory.unreached == {}
    fleet.store.add(deployment(state=State.GONE, ended_at=NOW, reason="idle"))
    assert survey(fleet).inventory.unreached == {"cloud": "there is no key"}


@pytest.mark.usefixtures("only_this_cloud")
def test_what_a_cloud_cannot_tell_of_is_not_gone_and_the_others_are_known(fleet: Fleet, cloud: Cloud) -> None:
    fleet.store.add(deployment())
    known = cloud.add("gpu-other-1")

    def in_part() -> object:
        raise Incomplete("one of them is not told", known=[known])

    cloud.list_resources = in_part  # type: ignore[method-assign,assignment]
    found = survey(fleet)
    assert fleet.store.get("gpu-tiny-1").is_live
    assert found.finished == ()
    assert [one.resource_name for one in found.leftovers] == ["gpu-other-1"]
    assert found.inventory.unreached == {"cloud": "one of them is not told"}


def test_a_silent_cloud_says_nothing_of_what_it_has_and_the_others_are_looked_at(
    fleet: Fleet, cloud: Cloud, two_clouds: Cloud
) -> None:
    fleet.store.add(deployment())
    two_clouds.add("gpu-other-1")
    cloud.trouble = ProviderUnavailable("it is down")
    found = survey(fleet)
    assert (found.finished, found.inventory.unreached) == ((), {"cloud": "it is down"})
    assert [one.resource_name for one in found.leftovers] == ["gpu-other-1"]
    assert fleet.store.get("gpu-tiny-1").is_live


RECORDS: Mapping[str, Mapping[str, object] | None] = {
    "none": None,
    "healthy": {},
    "overdue": {"deadline_at": NOW - 1},
    "abandoned": {"state": State.BOOTING, "tied": True, "ready_at": None},
    "without an id": {"state": State.LAUNCHING, "tied": True, "ready_at": None, "resource_id": ""},
    "ending": {"state": State.TERMINATING, "reason": "idle"},
    "ended": {"state": State.GONE, "ended_at": NOW - 60, "reason": "idle"},
}
RUNNING, BROKEN = ResourceState.RUNNING, ResourceState.BROKEN
AT_CLOUD: Mapping[str, Mapping[str, ResourceState]] = {
    "nothing": {},
    "one": {"id": RUNNING},
    "broken": {"id": BROKEN},
    "two": {"id": RUNNING, "double": RUNNING},
    "another": {"double": RUNNING},
}
"""The ids begin so: that on record with `id`."""


@pytest.mark.usefixtures("only_this_cloud")
def test_whatever_there_is_on_record_and_at_the_cloud_only_what_is_healthy_and_known_is_left(
    fleet: Fleet, cloud: Cloud
) -> None:
    healthy, listed = set(), list[Resource]()
    for number, (record, there) in enumerate(product(RECORDS, AT_CLOUD)):
        name = f"n{number}"
        if (changes := RECORDS[record]) is not None:
            fleet.store.add(deployment(name, **changes))
        for resource_id, state in AT_CLOUD[there].items():
            listed.append(
                replace(cloud.add(f"gpu-{name}-1", state, name=name), resource_id=f"{resource_id}-gpu-{name}-1")
            )
        if record == "healthy" and AT_CLOUD[there].get("id") is ResourceState.RUNNING:
            healthy.add(f"id-gpu-{name}-1")
    cloud.resources = {one.resource_id: one for one in listed}
    cloud.find = lambda name: next((one for one in cloud.resources.values() if one.name == name), None)  # type: ignore[method-assign]
    assert set(collect_all(fleet, survey(fleet).leftovers)) == {None}
    assert {one.resource_id for one in cloud.resources.values()} == healthy
    assert {one.resource_id for one in fleet.store.live()} == healthy
    again = survey(fleet)
    assert (again.leftovers, again.finished) == ((), ())


def test_of_several_leftovers_each_is_tried_and_what_is_not_confirmed_is_named(
    fleet: Fleet, cloud: Cloud, two_clouds: Cloud
) -> None:
    cloud.add("gpu-tiny-1")
    other = replace(two_clouds.add("gpu-other-1"), provider="other")
    two_clouds.resources = {other.name: other}
    cloud.terminates = False
    leftovers = survey(fleet).leftovers
    outcomes = dict(zip([one.resource_name for one in leftovers], collect_all(fleet, leftovers), strict=True))
    refused = outcomes["gpu-tiny-1"]
    assert refused is not None
    assert refused.still_billing == ("gpu-tiny-1",)
    assert outcomes["gpu-other-1"] is None
    assert two_clouds.resources == {}


class Hoarder(Cloud):
    """It keeps something for each resource, gone or not."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.hoard = set(names)
        self.sticks = False

    def kept(self) -> set[str]:
        return set(self.hoard)

    def forget(self, name: str) -> None:
        if not self.sticks:
            self.hoard.discard(name)


def test_what_a_cloud_keeps_is_dropped_once_its_resource_is_gone_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_providers.registry.available", lambda: {"cloud": None})
    cloud = Hoarder("gpu-tiny-1", "gpu-elsewhere-1", "gpu-gone-1")
    fleet = make_fleet(tmp_path, cloud, FakeClock())
    with closing(fleet.store):
        fleet.store.add(deployment())
        cloud.add("gpu-elsewhere-1")
        inventory = take_inventory(fleet)
        cloud.sticks = True
        assert [one.resource_name for one in forget_at_clouds(fleet, inventory)] == ["gpu-gone-1"]
        cloud.sticks = False
        assert forget_at_clouds(fleet, inventory) == []
    assert cloud.hoard == {"gpu-tiny-1", "gpu-elsewhere-1"}


def test_a_key_that_is_made_while_others_are_forgotten_stays(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.keys.create("gpu-gone-1")
    listed = Keys.resource_names

    def then_one_is_launched(keys: Keys) -> set[str]:
        names = listed(keys)
        fleet.store.add(deployment())
        fleet.keys.create("gpu-tiny-1")
        return names

    monkeypatch.setattr(Keys, "resource_names", then_one_is_launched)
    forget_keys(fleet)
    assert fleet.keys.read("gpu-tiny-1")
    assert fleet.keys.read("gpu-gone-1") is None
