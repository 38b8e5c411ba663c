"""What scales to zero, seen from this side: looking at it wakes nothing, and it costs what its workers cost."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from driver import wait_until
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet
from scripted_server import Reply, ScriptedServer, said
from typer.testing import CliRunner, Result

from gpu_cli import __version__
from gpu_cli.app import app
from gpu_cli.config.settings import Settings, resolve_limits
from gpu_cli.fleet.checkup import check_all
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.reconcile import look
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.guard.turn import Guard
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.up import bring_up
from gpu_cli.locks import Lock, released
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Boot, Kind, Resource
from gpu_providers.errors import NotFound

PRICE = 4.0


class Scaling(Cloud):
    """Its workers come and go as they are told."""

    poll_interval_s = 0.01
    workers = 0

    def describe(self, resource_id: str) -> Resource:
        told = {"price_usd_per_hour": self.workers * PRICE, "detail": f"{self.workers} workers", "endpoint": ""}
        return replace(super().describe(resource_id), native_idle_s=600.0, **told)  # type: ignore[arg-type]

    def boot(self, resource_id: str) -> Boot:
        return Boot(True, self.describe(resource_id).detail)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Scaling:
    """The only one that there is."""
    cloud = Scaling()
    monkeypatch.setattr("gpu_providers.registry.available", lambda: ["cloud"])
    monkeypatch.setattr("gpu_providers.registry.load", lambda *_: cloud)
    return cloud


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe("name: tiny\nmodel: A/B\n", Path("/tiny.yaml"), shown="tiny.yaml")


@pytest.fixture
def fleet(tmp_path: Path, cloud: Scaling, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """That of the commands, with a guard at work, as far as anyone can tell."""
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    fleet = make_fleet(tmp_path, cloud, Clock())
    with closing(fleet.store), released(Lock(lock_path(fleet.paths))) as guard:
        assert guard.try_acquire()
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        yield fleet


def add(fleet: Fleet, cloud: Cloud, endpoint: str, **changes: object) -> None:
    """An endpoint of the name `tiny`, as it is on record and at its cloud."""
    now = fleet.clock.now()
    times = dict.fromkeys(("created_at", "launched_at", "ready_at", "active_at"), now)
    made = deployment(kind=Kind.SERVERLESS, endpoint=endpoint, own_stop_armed=True)
    made = replace(made, deadline_at=now + 3600, start_deadline_at=now + 1800, **times)
    fleet.store.add(replace(made, **changes))  # type: ignore[arg-type]
    fleet.keys.create("gpu-tiny-1")
    cloud.add("gpu-tiny-1")


def gpu(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result


COMMANDS = ["ls", "ls --json", "wait tiny", "url tiny", "env tiny", "gc --dry-run", "logs tiny"]


@pytest.mark.parametrize("workers", [0, 1])
def test_no_command_that_looks_at_it_asks_it_anything(fleet: Fleet, cloud: Scaling, workers: int) -> None:
    cloud.workers = workers
    with ScriptedServer() as server:
        add(fleet, cloud, server.url)
        for command in COMMANDS:
            gpu(*command.split())
        assert server.asked == []


def test_neither_does_the_doctor_nor_a_second_up_nor_the_guard(
    fleet: Fleet, cloud: Scaling, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_cli.fleet.checkup.HUB", "http://127.0.0.1:9")
    with ScriptedServer() as server:
        add(fleet, cloud, server.url, recipe_digest=recipe.digest())
        check_all(fleet)
        wanted = Wanted(recipe, "tiny", resolve_limits(Settings({}, ()), recipe, {}))
        with released(fleet.launch_lock("tiny")) as lock:
            assert bring_up(fleet, wanted, lock, provider=None, progress=Silent(), tried=[]).state is State.READY
        with closing(Guard(fleet, Event())) as guard:
            for _ in range(3):
                time.sleep(cloud.poll_interval_s)
                assert guard.turn()
        assert server.asked == []


def test_ls_says_what_its_workers_do_where_others_have_their_idleness(fleet: Fleet, cloud: Scaling) -> None:
    cloud.workers = 2
    add(fleet, cloud, "http://127.0.0.1:9")
    assert "2 workers" in gpu("ls").output
    (listed,) = json.loads(gpu("ls", "--json").stdout)["deployments"]
    assert (listed["workers"], listed["idle_seconds"]) == ("2 workers", None)


def test_of_a_start_that_nobody_waits_for_the_guard_makes_one_request_and_waits_for_its_answer(
    fleet: Fleet, cloud: Scaling
) -> None:
    ready = [said({"data": [{"id": "tiny"}]}), said({"choices": [{"text": "Paris"}]})]
    with ScriptedServer(Reply(200, delay_s=0.5), Reply(200), *ready) as server:
        add(fleet, cloud, server.url, state=State.BOOTING, ready_at=None, active_at=None, own_stop_armed=False)
        with closing(Guard(fleet, Event())) as guard:

            def is_ready() -> bool:
                guard.turn()
                return fleet.store.get("gpu-tiny-1").state is State.READY

            wait_until(is_ready)
        paths = [one.path for one in server.asked]
    assert paths == ["/health", "/health", "/v1/models", "/v1/completions"]


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scaled(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """A fleet whose time is only what passes here."""
    fleets: list[Fleet] = []

    def make(cloud: Cloud, **changes: object) -> Fleet:
        fleets.append(make_fleet(tmp_path, cloud, FakeClock()))
        add(fleets[0], cloud, "", metered_usd=0.0, metered_at=NOW, **changes)
        return fleets[0]

    yield make
    for fleet in fleets:
        fleet.store.close()


def test_what_was_made_slowly_costs_from_when_its_worker_runs(scaled: Callable[..., Fleet]) -> None:
    """Also while its launcher watches the start."""
    cloud = Scaling()
    fleet = scaled(cloud, state=State.BOOTING, tied=True)
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        for second in range(0, 1200, 5):
            cloud.workers = int(second >= 600)
            fleet.clock.sleep(5)
            assert look(fleet, fleet.store.get("gpu-tiny-1"))[1] is None, "it is its launcher's"
    spent_usd = fleet.store.get("gpu-tiny-1").spent_usd(fleet.clock.now())
    assert spent_usd == pytest.approx(PRICE * 600 / 3600, abs=PRICE * 5 / 3600)


def test_workers_that_come_and_go_between_two_looks_cost_what_they_did_to_within_a_look(
    scaled: Callable[..., Fleet],
) -> None:
    cloud, look_s, ran = Scaling(), 5, [(7, 123), (301, 304), (500, 900)]
    fleet = scaled(cloud)
    for second in range(1000):
        cloud.workers = sum(began <= second < ended for began, ended in ran)
        fleet.clock.sleep(1)
        if second % look_s == 0:
            look(fleet, fleet.store.get("gpu-tiny-1"))
    ran_s = sum(ended - began for began, ended in ran)
    spent_usd = fleet.store.get("gpu-tiny-1").spent_usd(fleet.clock.now())
    assert spent_usd * 3600 / PRICE == pytest.approx(ran_s, abs=look_s * len(ran))


def test_a_start_that_its_launcher_watches_is_not_taken_for_gone(scaled: Callable[..., Fleet]) -> None:
    cloud = Scaling()
    fleet = scaled(cloud, state=State.BOOTING, tied=True)
    cloud.resources.clear()
    fleet.clock.sleep(3000)
    with pytest.raises(NotFound):
        cloud.describe("id-gpu-tiny-1")
    with released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        look(fleet, fleet.store.get("gpu-tiny-1"))
    assert fleet.store.get("gpu-tiny-1").state is State.BOOTING


def test_what_ended_elsewhere_was_not_idle(scaled: Callable[..., Fleet]) -> None:
    """Its idleness ends its workers only."""
    cloud = Scaling()
    fleet = scaled(cloud)
    cloud.resources.clear()
    fleet.clock.sleep(1800)
    assert look(fleet, fleet.store.get("gpu-tiny-1"))[0].reason == "ended outside gpu"
