"""A create whose answer is lost must neither leave a resource behind nor be sent again blindly."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.create import create
from gpu_providers.base import Kind, LaunchRequest, Offer
from gpu_providers.errors import CreateUnknown, NoCapacity, ProviderUnavailable, RateLimited


class Lagging(Cloud):
    """Its lists know of nothing before `known_at`."""

    list_lag_s = 30.0

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock, self.known_at = clock, NOW

    def find(self, name: str) -> object:
        return super().find(name) if self.clock.now() >= self.known_at else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud(clock: FakeClock) -> Lagging:
    return Lagging(clock)


@pytest.fixture
def fleet(tmp_path: Path, cloud: Lagging, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    fleet.store.add(deployment("x", State.LAUNCHING, resource_id=""))
    yield fleet
    fleet.store.close()


def request() -> LaunchRequest:
    day = datetime(2026, 11, 1, tzinfo=UTC)
    offer = Offer("cloud", Kind.POD, "one", "H100", 1, 79.2, "eu", 2.0, {"gpu": 2.0}, day)
    return LaunchRequest("gpu-x-1", offer, "image", ("run",), {}, {}, 8000, 50, {}, {})


def test_what_was_made_although_the_answer_was_lost_is_taken(fleet: Fleet, cloud: Lagging) -> None:
    cloud.launches = ["connection reset"]
    cloud.known_at = NOW + 20
    assert create(fleet, cloud, request()).name == "gpu-x-1"
    assert cloud.launched == ["gpu-x-1"], "it is looked for, not made again"


def test_nothing_is_believed_to_be_missing_before_the_clouds_lists_have_caught_up(
    fleet: Fleet, cloud: Lagging, clock: FakeClock
) -> None:
    cloud.launches = [CreateUnknown("status 500")]
    with pytest.raises(ProviderUnavailable, match="status 500; nothing was made"):
        create(fleet, cloud, request())
    assert clock.now() >= NOW + cloud.list_lag_s


def test_a_cloud_that_does_not_answer_afterwards_leaves_it_unknown(
    fleet: Fleet, cloud: Lagging, clock: FakeClock
) -> None:
    cloud.launches = [CreateUnknown("status 500")]
    clock.on_sleep = lambda: setattr(cloud, "trouble", ProviderUnavailable("down"))
    with pytest.raises(CreateUnknown):
        create(fleet, cloud, request())


def test_a_cloud_that_asks_for_patience_gets_it_and_then_the_same_request_again(
    fleet: Fleet, cloud: Lagging, clock: FakeClock
) -> None:
    cloud.launches = [RateLimited("slow down", retry_after_s=7)]
    create(fleet, cloud, request())
    assert (cloud.launched, clock.now()) == (["gpu-x-1", "gpu-x-1"], NOW + 7)


def test_patience_has_an_end(fleet: Fleet, cloud: Lagging) -> None:
    cloud.launches = [RateLimited("slow down", retry_after_s=7)] * 3
    with pytest.raises(RateLimited):
        create(fleet, cloud, request())
    assert len(cloud.launched) == 3


def test_a_refusal_is_passed_on_at_once(fleet: Fleet, cloud: Lagging, clock: FakeClock) -> None:
    cloud.launches = [NoCapacity("sold out")]
    with pytest.raises(NoCapacity):
        create(fleet, cloud, request())
    assert clock.now() == NOW


def test_what_someone_has_ended_meanwhile_is_not_asked_for_again(
    fleet: Fleet, cloud: Lagging, clock: FakeClock
) -> None:
    cloud.launches = [RateLimited("slow down", retry_after_s=7)]
    clock.on_sleep = lambda: fleet.store.move(fleet.store.get("gpu-x-1"), State.TERMINATING, at=NOW, reason="gpu down")
    with pytest.raises(UserError, match="was ended while it was starting"):
        create(fleet, cloud, request())
    assert cloud.launched == ["gpu-x-1"]
