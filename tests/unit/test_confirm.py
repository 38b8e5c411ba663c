"""What has to be confirmed before an endpoint is printed, against a real endpoint that shows a supervisor's status."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fleets import Cloud, FakeClock, deployment, make_fleet
from scripted_server import RESET, Reply, ScriptedServer, said

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.stops import stops_of
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.confirm import CONFIRM_DEADLINE_S, confirm_own_stop
from gpu_cli.fleet.reach.engine_client import EngineClient
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Kind, Secret, SelfDestruction

ARMED: dict[str, Any] = {
    "can_destroy": True,
    "idle_s": 600,
    "deadline_s": 3600,
    "elapsed_s": 60,
    "beat_age_s": 0.5,
    "reason": None,
}
POWERLESS = {**ARMED, "can_destroy": False}


class Notes(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def fleet(tmp_path: Path, cloud: Cloud, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, cloud, clock)
    yield fleet
    fleet.store.close()


def confirmed(fleet: Fleet, *answers: Reply, kind: Kind = Kind.POD, most_workers: int = 1) -> tuple[bool, list[str]]:
    """What comes of it, and what the user is told."""
    notes, made = Notes(), deployment(kind=kind, most_workers=most_workers)
    with ScriptedServer(*answers) as server, EngineClient(server.url, Secret("sk")) as client:
        return confirm_own_stop(fleet, client, made, notes), notes.lines


def test_a_supervisor_that_can_destroy_its_resource_is_an_armed_stop(fleet: Fleet) -> None:
    assert confirmed(fleet, said(ARMED)) == (True, [])


@pytest.mark.parametrize("status", [POWERLESS, {k: ARMED[k] for k in ARMED if k[0] != "c"}])
def test_one_that_cannot_although_its_cloud_gives_the_means_is_none_and_the_user_is_told(
    fleet: Fleet, cloud: Cloud, status: dict[str, Any]
) -> None:
    usual = SelfDestruction("DELETE", "https://cloud", {}, "GET", "https://cloud", {404: ""}, "gpu/1", ("KEY",))
    cloud.self_destruction = lambda options: usual  # type: ignore[method-assign] # noqa: ARG005
    told = "tiny cannot destroy itself: cloud gave it no credential for that"
    assert confirmed(fleet, said(status)) == (False, [told])


def test_where_a_cloud_has_no_means_to_give_it_is_no_news_that_they_are_missing(fleet: Fleet) -> None:
    assert confirmed(fleet, said(POWERLESS)) == (False, [])


def test_what_is_not_armed_is_shown_as_not_armed() -> None:
    stops = stops_of(deployment(state=State.READY, own_stop_armed=False), guard_lives=True)
    assert {stop.by: stop.armed for stop in stops} == {"supervisor": False, "guard": True}


def test_a_process_of_this_machine_needs_no_credential_to_end(fleet: Fleet) -> None:
    assert confirmed(fleet, said(POWERLESS), kind=Kind.PROCESS) == (True, [])


def test_a_word_that_comes_late_is_waited_for(fleet: Fleet) -> None:
    assert confirmed(fleet, RESET, Reply(404), said(ARMED)) == (True, [])


@pytest.mark.parametrize(
    "change",
    [{"idle_s": 601}, {"deadline_s": 7200}, {"beat_age_s": 61}, {"reason": "idle"}, {"elapsed_s": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_supervisor_with_other_limits_or_without_life_confirms_nothing(
    fleet: Fleet, clock: FakeClock, change: dict[str, Any]
) -> None:
    def on_sleep() -> None:
        clock.time += CONFIRM_DEADLINE_S

    clock.on_sleep = on_sleep
    with pytest.raises(UserError) as unconfirmed:
        confirmed(fleet, *[said({**ARMED, **change})] * 2)
    assert (unconfirmed.value.exit_status, unconfirmed.value.code) == (Exit.NEVER_HEALTHY, "stops-unconfirmed")


@pytest.mark.parametrize(("native_idle_s", "armed"), [(600.0, True), (601.0, False), (None, False)])
def test_what_scales_to_zero_is_confirmed_by_its_cloud(
    fleet: Fleet, cloud: Cloud, native_idle_s: float | None, armed: bool
) -> None:
    resource = replace(cloud.add("gpu-tiny-1"), native_idle_s=native_idle_s)
    cloud.resources = {"gpu-tiny-1": replace(resource, resource_id=deployment().resource_id)}
    if armed:
        assert confirmed(fleet, kind=Kind.SERVERLESS) == (True, [])
        return
    with pytest.raises(UserError, match="cloud of tiny did not confirm"):
        confirmed(fleet, kind=Kind.SERVERLESS)


@pytest.mark.parametrize(
    ("most_workers", "more"),
    [(1, ": while this machine is on, its guard keeps one until it has been idle for 10m"), (2, "")],
)
def test_the_user_is_told_of_a_cloud_that_ends_idle_workers_sooner(
    fleet: Fleet, cloud: Cloud, most_workers: int, more: str
) -> None:
    cloud.resources = {"gpu-tiny-1": replace(cloud.add("gpu-tiny-1"), native_idle_s=300.0)}
    told = f"cloud ends idle workers after 5m at the latest{more}"
    assert confirmed(fleet, kind=Kind.SERVERLESS, most_workers=most_workers) == (True, [told])
