import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
from driver import wait_until
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli import __version__
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end.spot import Terms, spot_recipes
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import await_guard, call_guard, guard_lives, lock_path, version_path
from gpu_cli.fleet.guard.run import LINGER_S, run
from gpu_cli.fleet.guard.turn import TURN_S, Guard
from gpu_cli.locks import Lock, released
from gpu_cli.recipe.files import parse_recipe
from gpu_providers.base import Link, Resource, ResourceState


class Turns(Event):
    """A guard that waits for it makes fake time pass; it is set after so many waits."""

    def __init__(self, clock: FakeClock, most: int) -> None:
        super().__init__()
        self.clock = clock
        self.left = most

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.sleep(timeout or 0.0)
        self.left -= 1
        if self.left == 0:
            self.set()
        return self.is_set()


def test_the_guard_goes_when_nothing_has_lived_for_a_while(tmp_path: Path) -> None:
    clock = FakeClock()
    fleet = make_fleet(tmp_path, clock=clock)
    with closing(fleet.store):
        run(fleet, Turns(clock, 1000))
    assert LINGER_S <= clock.now() - NOW <= LINGER_S + 2 * TURN_S
    assert not guard_lives(fleet.paths)


def test_of_two_guards_one_goes_at_once(tmp_path: Path) -> None:
    clock = FakeClock()
    fleet = make_fleet(tmp_path, clock=clock)
    first = Lock(lock_path(fleet.paths))
    assert first.try_acquire()
    with closing(fleet.store):
        run(fleet, Turns(clock, 1000))
    assert clock.now() - NOW < LINGER_S
    first.release()


def test_what_a_dead_guard_has_written_does_not_speak_for_the_next_one(tmp_path: Path) -> None:
    """Which has the lock already, and listens at no port yet."""
    clock = FakeClock()
    fleet = make_fleet(tmp_path, clock=clock)
    ended = subprocess.Popen(["true"])
    ended.wait()
    with closing(fleet.store), released(Lock(lock_path(fleet.paths))) as lock:
        assert lock.try_acquire()
        version_path(fleet.paths).write_text(f"{ended.pid} {__version__}\n")
        clock.on_sleep = lambda: version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        await_guard(fleet, ended)
    assert clock.now() > NOW


def test_a_guard_that_has_only_just_begun_is_waited_for_and_not_doubled(tmp_path: Path) -> None:
    clock = FakeClock()
    fleet = make_fleet(tmp_path, clock=clock)
    clock.on_sleep = lambda: version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
    with closing(fleet.store), released(Lock(lock_path(fleet.paths))) as lock:
        assert lock.try_acquire()
        assert call_guard(fleet) is None
    assert clock.now() > NOW


def test_the_guard_stays_as_long_as_something_lives(tmp_path: Path) -> None:
    clock, cloud = FakeClock(), Cloud()
    fleet = make_fleet(tmp_path, cloud, clock)
    fleet.store.add(deployment(state=State.BOOTING, endpoint=""))
    cloud.add("gpu-tiny-1")
    with closing(fleet.store):
        run(fleet, Turns(clock, 30))
        assert clock.now() - NOW == 30 * TURN_S
        assert [one.state for one in fleet.store.live()] == [State.BOOTING]


def test_the_guard_stays_while_the_record_cannot_be_read(tmp_path: Path) -> None:
    clock = FakeClock()
    fleet = make_fleet(tmp_path, clock=clock)
    connection = fleet.store._open_connection()
    connection.execute("ALTER TABLE deployments RENAME TO locked")

    def readable_again() -> None:
        if clock.now() == NOW + 60:
            connection.execute("ALTER TABLE locked RENAME TO deployments")

    clock.on_sleep = readable_again
    with closing(fleet.store):
        run(fleet, Turns(clock, 1000))
    assert 60 <= clock.now() - NOW - LINGER_S + TURN_S <= 60 + 2 * TURN_S


def test_a_guard_that_is_told_to_go_makes_room_at_once(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, clock=FakeClock())
    fleet.store.add(deployment(state=State.BOOTING, endpoint=""))
    with closing(fleet.store):
        run(fleet, Turns(FakeClock(), 2))
    assert not guard_lives(fleet.paths)


def test_the_guard_leaves_alone_what_its_launcher_is_making(tmp_path: Path) -> None:
    clock, cloud = FakeClock(), Cloud()
    fleet = make_fleet(tmp_path, cloud, clock)
    fleet.store.add(deployment(state=State.LAUNCHING, resource_id="", endpoint="", ready_at=None, tied=True))
    cloud.add("gpu-tiny-1")
    with closing(fleet.store), released(fleet.launch_lock("tiny")) as lock:
        assert lock.try_acquire()
        run(fleet, Turns(clock, 30))
        assert [one.state for one in fleet.store.live()] == [State.LAUNCHING]
    assert (list(cloud.resources), cloud.terminated) == (["gpu-tiny-1"], [])


def run_apart(fleet: Fleet, stop: Event) -> None:
    """In another thread."""
    with fleet.apart() as apart:
        run(apart, stop)


class Counting(Cloud):
    """How often it was asked for a description."""

    poll_interval_s = 5.0
    asked = 0

    def describe(self, resource_id: str) -> Resource:
        self.asked += 1
        return super().describe(resource_id)


@pytest.mark.parametrize("deployments", [1, 6])
def test_a_cloud_is_asked_as_often_for_many_deployments_as_for_one(tmp_path: Path, deployments: int) -> None:
    clock, cloud = FakeClock(), Counting()
    fleet = make_fleet(tmp_path, cloud, clock)
    for number in range(deployments):
        name = f"gpu-tiny-{number}"
        fleet.store.add(deployment(f"tiny{number}", State.BOOTING, resource_name=name, resource_id=f"id-{name}"))
        cloud.add(name)
    with closing(fleet.store):
        run(fleet, Turns(clock, 120))
    lasted_s = clock.now() - NOW
    assert 0.4 * lasted_s / cloud.poll_interval_s <= cloud.asked <= lasted_s / cloud.poll_interval_s + deployments


@pytest.mark.parametrize("deadline_s", [60, 62, 70])
def test_many_neighbours_do_not_delay_a_deadline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], deadline_s: int
) -> None:
    """Whatever the guard would ask of its cloud at that look."""
    clock, cloud = FakeClock(), Counting()
    fleet = make_fleet(tmp_path, cloud, clock)
    told_at: list[float] = []

    def listen() -> None:
        if "gpu-tiny-0: ending it: deadline" in capsys.readouterr().err:
            told_at.append(clock.now() - NOW)

    clock.on_sleep = listen
    for number in range(60):
        name = f"gpu-tiny-{number}"
        made = deployment(f"tiny{number}", State.BOOTING, resource_name=name, resource_id=f"id-{name}")
        fleet.store.add(replace(made, deadline_at=NOW + deadline_s) if number == 0 else made)
        cloud.add(name)
    with closing(fleet.store):
        run(fleet, Turns(clock, 40))
    assert deadline_s < told_at[0] <= deadline_s + 3 * TURN_S


class Asked(Cloud):
    """Something happens when it is asked for a description, by the number of the question."""

    def __init__(self, then: Callable[[int], object]) -> None:
        super().__init__()
        self.then = then
        self.asked = 0

    def describe(self, resource_id: str) -> Resource:
        self.asked += 1
        self.then(self.asked)
        return super().describe(resource_id)


def three_of(cloud: Cloud, home: Path) -> Fleet:
    """A fleet with three of them in it."""
    fleet = make_fleet(home, cloud)
    for number in range(3):
        name = f"gpu-tiny-{number}"
        fleet.store.add(deployment(f"tiny{number}", State.BOOTING, resource_name=name, resource_id=f"id-{name}"))
        cloud.add(name)
    return fleet


def test_what_becomes_reachable_gets_its_port_while_the_guard_is_busy_with_others(tmp_path: Path) -> None:
    def then(question: int) -> None:
        if question > 1:
            return
        with fleet.apart() as launcher:
            launcher.certificates.create("gpu-late-1", NOW)
            launcher.store.add(deployment("late", State.LOADING, link=Link.TLS, endpoint="https://127.0.0.1:9"))
            wait_until(lambda: launcher.store.get("gpu-late-1").local_port)

    cloud = Asked(then)
    fleet = three_of(cloud, tmp_path)
    with closing(fleet.store):
        run(fleet, Turns(FakeClock(), 1000))
        assert fleet.store.get("gpu-late-1").local_port
    assert cloud.asked >= 3


def test_a_cloud_that_hangs_keeps_no_other_clouds_deployments_from_being_ended(tmp_path: Path) -> None:
    hangs, goes_on = Cloud(), Event()
    hangs.describe = lambda _: goes_on.wait() and None
    fleet = three_of(hangs, tmp_path)
    fleet._loaded["other"] = other = Cloud()
    fleet.store.add(deployment("other", provider="other", deadline_at=NOW))
    other.add("gpu-other-1")
    stop = Event()
    guard = Thread(target=run_apart, args=(fleet, stop))
    guard.start()
    with closing(fleet.store):
        wait_until(lambda: not other.resources)
        wait_until(lambda: not fleet.store.get("gpu-other-1").is_live)
        assert len(fleet.store.live()) == 3
    stop.set()
    goes_on.set()
    guard.join()


@pytest.mark.parametrize("slept_s", [7200, -7200], ids=["the machine was suspended", "the clock was set back"])
def test_a_jump_of_the_clock_delays_no_look(tmp_path: Path, slept_s: float) -> None:
    """With so many neighbours that each is looked at once in minutes."""
    clock, cloud = FakeClock(), Counting()
    fleet = make_fleet(tmp_path, cloud, clock)
    for number in range(40):
        name = f"gpu-tiny-{number}"
        made = deployment(f"tiny{number}", State.BOOTING, resource_name=name, resource_id=f"id-{name}")
        fleet.store.add(replace(made, deadline_at=NOW + 9e5, start_deadline_at=NOW + (5000 if number == 39 else 9e5)))
        cloud.add(name)
    with closing(fleet.store), closing(Guard(fleet, Event())) as guard:
        for _ in range(6):
            guard.turn()
        assert cloud.asked == 40
        clock.time += slept_s
        guard.turn()
        assert cloud.asked > 40
        if slept_s > 0:
            wait_until(lambda: "gpu-tiny-39" not in cloud.resources)
        guard.make_room()


def test_a_guard_that_is_told_to_go_looks_at_nothing_more(tmp_path: Path) -> None:
    stop = Event()
    cloud = Asked(lambda _: stop.set())
    fleet = three_of(cloud, tmp_path)
    with closing(fleet.store):
        run(fleet, stop)
    assert cloud.asked == 1


def test_a_deployment_gets_the_port_of_the_last_one_of_its_name_unless_another_needs_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    fleet = make_fleet(tmp_path)
    for unique, ended_at in (("gpu-tiny-1", NOW), ("gpu-tiny-2", NOW + 1), ("gpu-other-1", NOW)):
        name = unique.split("-")[1]
        ended = deployment(name, State.GONE, resource_name=unique, ended_at=ended_at)
        fleet.store.add(replace(ended, local_port=port if unique == "gpu-tiny-1" else None))
    for unique in ("gpu-tiny-3", "gpu-other-2"):
        fleet.certificates.create(unique, NOW)
        made = deployment(unique.split("-")[1], resource_name=unique, link=Link.TLS, endpoint="https://127.0.0.1:9")
        fleet.store.add(made)
    with closing(fleet.store):
        run(fleet, Turns(FakeClock(), 1))
        assert fleet.store.get("gpu-tiny-3").local_port == port
        assert fleet.store.get("gpu-other-2").local_port not in (None, port)


def test_what_its_cloud_took_back_is_launched_again_once_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, cloud = FakeClock(), Cloud()
    fleet = make_fleet(tmp_path, cloud, clock)
    monkeypatch.setattr("gpu_providers.registry.load", lambda *_: cloud)
    left: Queue[int] = Queue()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: left.put(len(cloud.resources)))
    fleet.store.add(deployment())
    recipe = parse_recipe("model: A/B\nspot: true\nwhen_lost: replace\n", tmp_path / "r.yaml", shown="r.yaml")
    spot_recipes(fleet).keep("gpu-tiny-1", recipe, Terms(None, 60.0))
    cloud.resources["gpu-tiny-1"] = replace(cloud.add("gpu-tiny-1", ResourceState.BROKEN), detail="outbid")
    with closing(fleet.store):
        run(fleet, Turns(clock, 1000))
        assert fleet.store.get("gpu-tiny-1").reason == "taken back: outbid"
    assert left.get(timeout=20) == 0


def test_what_was_taken_back_is_launched_again_even_if_who_ended_it_did_not_see_it_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    fleet = make_fleet(tmp_path, Cloud(), clock)
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: started.append(_))
    fleet.store.add(deployment(state=State.TERMINATING, reason="taken back: outbid"))
    recipe = parse_recipe("model: A/B\nspot: true\nwhen_lost: replace\n", tmp_path / "r.yaml", shown="r.yaml")
    spot_recipes(fleet).keep("gpu-tiny-1", recipe, Terms(None, 60.0))
    with closing(fleet.store):
        run(fleet, Turns(clock, 1000))
        wait_until(lambda: started)
    assert len(started) == 1
