"""Keeping a worker beyond its cloud's window: as its cloud sees it, request by request, and through the guard."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_server import Reply, ScriptedServer

from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.guard.keep_warm import LATE_S, TOUCH_EVERY_S, KeepWarm, is_kept_warm
from gpu_cli.fleet.guard.run import run
from gpu_cli.fleet.reach.engine_client import EngineUnreachable, Work
from gpu_providers.base import Kind, Resource

HOUR_S = 3600.0
LOOK_S = 60.0
"""Between two looks of the guards here: nothing is seen sooner."""
METRICS = "".join(f"vllm:{name} 0.0\n" for name in (
    "num_requests_running", "num_requests_waiting", "request_success_total", "prompt_tokens_total",
    "generation_tokens_total",
))  # fmt: skip


class Worker:
    """It runs from a request on until `window_s` after the last one; its engine counts its work from there."""

    def __init__(self, clock: FakeClock, window_s: float) -> None:
        self.clock, self.window_s = clock, window_s
        self.late_s = 0.0
        self.loads_s = 0.0
        """How long it takes to answer: until then its user waits for it."""
        self.ends_at = self.wanted_at = self.answers_at = 0.0
        self.done = 0.0
        self.touches: list[float] = []

    @property
    def runs(self) -> bool:
        return self.clock.now() < self.ends_at

    def use(self) -> None:
        """As its user does."""
        if not self.runs:
            self.done, self.answers_at = 0.0, self.clock.now() + self.loads_s
        self.done += 10
        self.wanted_at = max(self.clock.now(), self.answers_at)
        self._keep()

    def work(self) -> Work:
        """As the guard does, which never wakes it."""
        assert self.runs
        self.touches.append(self.clock.now())
        self._keep()
        if self.clock.now() < self.answers_at:
            raise EngineUnreachable("ReadTimeout")
        return Work(0, 0, self.done)

    def _keep(self) -> None:
        self.ends_at = self.clock.now() + self.window_s + self.late_s


def simulated(
    worker: Worker, idle_s: float, *, uses: Sequence[float] = (), restarts: Sequence[float] = (), dies_at: float = 1e9
) -> None:
    """Until nothing is left to happen; times are seconds from the moment at which it became ready."""
    clock = worker.clock
    worker.use()
    with tempfile.TemporaryDirectory() as home, closing((fleet := make_fleet(Path(home), clock=clock)).store):
        fleet.store.add(deployment(kind=Kind.SERVERLESS, idle_s=idle_s))
        guard = KeepWarm(fleet, lambda _: worker)  # type: ignore[arg-type,return-value]
        told = Cloud().add("gpu-tiny-1")
        waiting = sorted((*((at, "use") for at in uses), *((at, "restart") for at in restarts)))
        while waiting or worker.runs:
            clock.time += LOOK_S
            assert clock.now() < NOW + 48 * HOUR_S, "it is kept for ever"
            while waiting and NOW + waiting[0][0] <= clock.now():
                if waiting.pop(0)[1] == "use":
                    worker.use()
                else:
                    guard = KeepWarm(fleet, lambda _: worker)  # type: ignore[arg-type,return-value]
            if clock.now() - NOW < dies_at:
                price = 4.0 if worker.runs else 0.0
                resource = replace(told, price_usd_per_hour=price, native_idle_s=worker.window_s)
                guard.attend(fleet.store.get("gpu-tiny-1"), resource)


windows = st.sampled_from([300.0, 900.0, HOUR_S])
times = st.lists(st.integers(0, 6 * 3600).map(float), max_size=5)


@settings(max_examples=40, deadline=None)
@given(windows, st.floats(1.0, 4.0), times, times, st.floats(0, 900))
@example(HOUR_S, 1.5, [2000.0], [], 0.0)
@example(300.0, 3.875, [], [], 241.0)
@example(300.0, 3.875, [], [], 600.0)
def test_it_is_never_kept_for_longer_than_its_user_wants_and_never_woken(
    window_s: float, windows_long: float, uses: list[float], restarts: list[float], loads_s: float
) -> None:
    worker = Worker(FakeClock(), window_s)
    worker.loads_s = loads_s
    simulated(worker, windows_long * window_s, uses=uses, restarts=restarts)
    assert worker.ends_at - worker.wanted_at <= windows_long * window_s + LOOK_S


@settings(max_examples=15, deadline=None)
@given(windows, st.floats(1.1, 4.0))
def test_it_is_kept_for_as_long_as_its_user_wants(window_s: float, windows_long: float) -> None:
    worker, idle_s = Worker(FakeClock(), window_s), windows_long * window_s
    simulated(worker, idle_s)
    lived_s = worker.ends_at - NOW
    assert max(window_s, idle_s - TOUCH_EVERY_S - 2 * LOOK_S) <= lived_s <= idle_s
    apart = [later - earlier for earlier, later in zip(worker.touches, worker.touches[1:], strict=False)]
    assert min(apart, default=TOUCH_EVERY_S) >= min(TOUCH_EVERY_S, window_s / 2)


@pytest.mark.parametrize("dies_at", [0.0, 1000.0, 3000.0, 2 * HOUR_S])
def test_without_a_guard_it_ends_sooner_and_not_later(dies_at: float) -> None:
    worker = Worker(FakeClock(), HOUR_S)
    simulated(worker, 3 * HOUR_S, dies_at=dies_at)
    assert HOUR_S <= worker.ends_at - NOW <= dies_at + HOUR_S


def test_what_was_used_after_it_had_been_let_go_is_kept_on() -> None:
    worker = Worker(FakeClock(), HOUR_S)
    used_at = 2.5 * HOUR_S  # it is let go after two hours
    simulated(worker, 3 * HOUR_S, uses=[used_at])
    kept_s = worker.ends_at - NOW - used_at
    assert 2 * HOUR_S < kept_s <= 3 * HOUR_S


def test_a_cloud_that_is_late_is_not_kept_from_ending_it_for_ever() -> None:
    worker = Worker(FakeClock(), HOUR_S)
    worker.late_s = 3 * LATE_S
    simulated(worker, 2 * HOUR_S)
    assert worker.ends_at - NOW <= 3 * HOUR_S + 2 * worker.late_s


@pytest.mark.parametrize(
    ("changed", "window_s", "kept"),
    [
        ({}, 599.0, True),
        ({}, 600.0, False),
        ({"kind": Kind.POD}, 599.0, False),
        ({"most_workers": 2}, 599.0, False),
    ],
)
def test_only_a_single_worker_whose_cloud_ends_it_sooner_is_kept(
    changed: dict[str, object], window_s: float, kept: bool
) -> None:
    made: Deployment = deployment(**{"kind": Kind.SERVERLESS, "idle_s": 600.0, **changed})
    assert is_kept_warm(made, window_s) is kept


# --- through the guard -----------------------------------------------------------------------------------------------


class Minutes(Event):
    """A guard that waits for it looks once a minute, so many times."""

    def __init__(self, clock: FakeClock, most: float) -> None:
        super().__init__()
        self.clock, self.left = clock, most

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - that of an event
        self.clock.sleep(60)
        self.left -= 1
        return self.left <= 0

    def is_set(self) -> bool:
        return self.left <= 0


class Windowed(Cloud):
    """Its worker runs, or not, and would be ended after an hour without requests."""

    runs = True

    def describe(self, resource_id: str) -> Resource:
        price = 4.0 if self.runs else 0.0
        return replace(super().describe(resource_id), price_usd_per_hour=price, native_idle_s=HOUR_S, endpoint="")


def guarded(home: Path, cloud: Cloud, *, hours: float, **changed: object) -> list[str]:
    """What the endpoint is asked while a guard is at work."""
    clock = FakeClock()
    fleet = make_fleet(home, cloud, clock)
    key = fleet.keys.create("gpu-tiny-1").reveal()
    cloud.add("gpu-tiny-1")
    with closing(fleet.store), ScriptedServer(*[Reply(200, METRICS)] * 40) as server:
        made = deployment(kind=Kind.SERVERLESS, endpoint=server.url, deadline_at=NOW + 1e9, work_done=0.0)
        fleet.store.add(replace(made, **changed))  # type: ignore[arg-type]
        run(fleet, Minutes(clock, hours * 60))
        server.replies.clear()
        assert {one.headers["authorization"] for one in server.asked} <= {f"Bearer {key}"}
        return [one.path for one in server.asked]


def test_the_guard_asks_the_worker_for_its_metrics_every_five_minutes_until_it_may_end(tmp_path: Path) -> None:
    asked = guarded(tmp_path, Windowed(), hours=4, idle_s=2 * HOUR_S)
    every_five_minutes_of_the_first_hour, once_when_it_is_still_there = 11, 1
    assert asked == ["/metrics"] * (every_five_minutes_of_the_first_hour + once_when_it_is_still_there)


@pytest.mark.parametrize("changed", [{"idle_s": HOUR_S}, {"most_workers": 2}, {"state": State.DRAINING}])
def test_the_guard_asks_nothing_of_a_worker_that_its_cloud_ends_in_time(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    assert guarded(tmp_path, Windowed(), hours=1, **{"idle_s": 2 * HOUR_S, **changed}) == []


def test_the_guard_asks_nothing_of_an_endpoint_without_workers(tmp_path: Path) -> None:
    cloud = Windowed()
    cloud.runs = False
    assert guarded(tmp_path, cloud, hours=3, idle_s=2 * HOUR_S) == []
