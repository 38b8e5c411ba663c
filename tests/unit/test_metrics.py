"""What the guard tells Prometheus of one that does not answer, and of one that must not be asked."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from fleets import NOW, FakeClock, deployment, make_fleet
from prometheus_client.registry import Collector

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.gauges.readings import Gauges, Reading
from gpu_cli.fleet.gauges.watch import Watch
from gpu_cli.fleet.guard.metrics import FRESH_S, FleetCollector
from gpu_providers.base import Kind

OF_TINY = {"deployment": "tiny", "recipe": "tiny", "provider": "cloud", "gpu": "H100"}
READING = Reading(NOW, 1, 2, input_tokens=10, output_tokens=20, prefix_queries=8, prefix_hits=4, preemptions=0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, clock=clock)
    with closing(fleet.store):
        yield fleet


class Looks:
    """What looks find, and how many there were."""

    def __init__(self) -> None:
        self.found: list[Gauges] = []
        self.count = 0

    def look(self) -> list[Gauges]:
        self.count += 1
        return self.found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(Watch, "look", lambda _self, _patience_s: looks.look())
    return looks


@pytest.fixture
def collector(fleet: Fleet) -> FleetCollector:
    return FleetCollector(fleet, lambda: NOW - 1)


def values(collector: Collector, **labels: str) -> Mapping[str, float]:
    """Of all samples that have these labels."""
    return {
        sample.name: sample.value
        for family in collector.collect()
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


def test_one_that_does_not_answer_is_down_and_what_it_would_say_is_left_out(
    collector: FleetCollector, looks: Looks
) -> None:
    looks.found = [Gauges(deployment(), NOW, problem="its engine does not answer")]
    told = values(collector, **OF_TINY)
    assert (told["gpu_deployment_up"], told["gpu_deployment_price_usd_per_hour"]) == (0.0, 2.0)
    assert [name for name in told if "requests" in name or "tokens" in name] == []


def test_what_scales_to_zero_is_neither_up_nor_down(collector: FleetCollector, looks: Looks) -> None:
    looks.found = [Gauges(deployment(kind=Kind.SERVERLESS), NOW)]
    told = values(collector, **OF_TINY)
    assert "gpu_deployment_up" not in told
    assert told["gpu_deployment_gpus"] == 1


def test_figures_have_the_units_that_their_names_say(collector: FleetCollector, looks: Looks) -> None:
    half_an_hour = NOW + 1800
    looks.found = [
        Gauges(deployment(), half_an_hour, 1, 2, gpu_memory_used_gib=0.5, gpu_memory_total_gib=2.0, reading=READING)
    ]
    told = values(collector, **OF_TINY)
    assert (told["gpu_deployment_gpu_memory_used_bytes"], told["gpu_deployment_gpu_memory_total_bytes"]) == (
        2**29,
        2**31,
    )
    assert told["gpu_deployment_spent_usd"] == 1.0
    assert told["gpu_deployment_generation_tokens_total"] == 20
    ready = values(collector, **OF_TINY, state="ready")
    assert ready == {"gpu_deployment_state": 1.0}


def test_until_each_stop_it_takes_so_long(collector: FleetCollector, looks: Looks, fleet: Fleet) -> None:
    fleet.keys.create("gpu-tiny-1")
    looks.found = [Gauges(deployment(own_stop_armed=True), NOW + 60, reading=READING)]
    assert values(collector, stop="idle", by="supervisor") == {"gpu_deployment_stop_seconds": 540.0}
    assert values(collector, stop="deadline", by="supervisor") == {"gpu_deployment_stop_seconds": 3540.0}
    assert values(collector, stop="idle", by="guard") == {}  # no guard lives here: it is not armed


def test_the_engines_are_asked_once_for_all_who_scrape_at_the_same_time(
    collector: FleetCollector, looks: Looks, clock: FakeClock
) -> None:
    assert (values(collector), looks.count) == (values(collector), 1)
    clock.time += FRESH_S
    assert (values(collector) != {}, looks.count) == (True, 2)


def test_the_guard_tells_of_itself(collector: FleetCollector, looks: Looks) -> None:
    looks.found = [Gauges(deployment(), NOW)]
    told = values(collector)
    assert (told["gpu_guard_deployments"], told["gpu_guard_last_turn_timestamp_seconds"]) == (1, NOW - 1)
