"""What the guard concludes of one that does not answer: nobody can see whether it is idle."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fleets import Cloud, FakeClock, deployment, make_fleet

from gpu_cli.fleet.end.stops import GUARD_GRACE_S
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.watch import Watch
from gpu_cli.fleet.reach.engine_client import EngineUnreachable, Work
from gpu_providers.base import ResourceState
from gpu_providers.errors import ProviderUnavailable

IDLE_S = deployment().idle_s


@dataclass
class Engine:
    """It has work to do, whenever it answers."""

    answers: bool = False

    def work(self) -> Work:
        if not self.answers:
            raise EngineUnreachable("connection refused")
        return Work(running=1, waiting=0, done=1.0)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    fleet.store.add(deployment(deadline_at=clock.now() + 86_400))
    yield fleet
    fleet.store.close()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def watch(fleet: Fleet, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(Watch, "_client", lambda _self, _deployment: engine)
    with closing(Watch(fleet)) as watch:
        yield watch


def offline(cloud: Cloud) -> None:
    cloud.resources["gpu-tiny-1"] = replace(
        cloud.add("gpu-tiny-1", ResourceState.STARTING), detail="its host is offline"
    )


def ends(fleet: Fleet, watch: Watch) -> str:
    """For which reason, at this look."""
    deed = watch.attend(fleet.store.get("gpu-tiny-1"))
    return deed.keywords["reason"] if deed else ""  # type: ignore[attr-defined]  # a partial


def test_what_went_offline_is_ended_when_it_has_not_come_back_for_as_long_as_it_may_be_idle(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, watch: Watch
) -> None:
    offline(cloud)
    clock.time += 2 * IDLE_S  # how long it has had no work says nothing: it may be at work for others
    assert ends(fleet, watch) == ""
    clock.time += IDLE_S + GUARD_GRACE_S - 1
    assert ends(fleet, watch) == ""
    clock.time += 1
    assert ends(fleet, watch) == "cloud says: its host is offline, and it has not answered for 10m"


@pytest.mark.parametrize("cloud_says", [ResourceState.RUNNING, None])
def test_a_failure_of_the_network_on_this_side_ends_nothing(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, watch: Watch, cloud_says: ResourceState | None
) -> None:
    if cloud_says:
        cloud.add("gpu-tiny-1", cloud_says)
    else:
        cloud.trouble = ProviderUnavailable("no route to host")
    for _ in range(4):
        assert ends(fleet, watch) == ""
        clock.time += IDLE_S


def test_what_comes_back_for_a_moment_is_given_all_the_time_again(
    fleet: Fleet, cloud: Cloud, clock: FakeClock, watch: Watch, engine: Engine
) -> None:
    for engine.answers in (False, True, False):
        offline(cloud)
        assert ends(fleet, watch) == ""
        clock.time += IDLE_S
    cloud.add("gpu-tiny-1")
    assert ends(fleet, watch) == ""
    clock.time += IDLE_S
    offline(cloud)
    assert ends(fleet, watch) == ""
