"""What lives, as Prometheus reads it: looked at when somebody scrapes, and not otherwise.

Names and units follow Prometheus' practice (prometheus.io, practices/naming): seconds, bytes, shares of 1, and counters
rather than rates, which its queries make of them.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gpu_cli import __version__
from gpu_cli.fleet.deployment import LIVE, Deployment
from gpu_cli.fleet.end.all_stops import all_stops
from gpu_cli.fleet.end.stops import Stop, idle_for_s
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.gauges.readings import Gauges, Reading
from gpu_cli.fleet.gauges.watch import Watch

LABELS = ("deployment", "recipe", "provider", "gpu")
FRESH_S = 2.0
"""For so long all who scrape see the same figures, and no engine is asked again."""
PATIENCE_S = 5.0
"""For engines that do not answer: Prometheus gives up after ten seconds unless it is told otherwise."""

Family = GaugeMetricFamily | CounterMetricFamily


@dataclass(frozen=True)
class Figure:
    """One number of each deployment; no sample where it is not known."""

    name: str
    help: str
    of: Callable[[Gauges], float | None]
    family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily


def _up(gauges: Gauges) -> float | None:
    return 0.0 if gauges.problem else 1.0 if gauges.reading else None


def _counted(of: Callable[[Reading], float | None]) -> Callable[[Gauges], float | None]:
    return lambda gauges: of(gauges.reading) if gauges.reading else None


def _bytes(gib: float | None) -> float | None:
    return None if gib is None else gib * 2**30


FIGURES = (
    Figure("up", "Whether its engine answers; no sample where it is not asked: asking might wake it.", _up),
    Figure("requests_running", "Requests that its engine works on.", lambda one: one.running),
    Figure("requests_waiting", "Requests in the queue of its engine.", lambda one: one.waiting),
    Figure(
        "prompt_tokens",
        "Tokens of prompts since its engine started.",
        _counted(lambda reading: reading.input_tokens),
        CounterMetricFamily,
    ),
    Figure(
        "generation_tokens",
        "Tokens generated since its engine started.",
        _counted(lambda reading: reading.output_tokens),
        CounterMetricFamily,
    ),
    Figure("kv_cache_used_ratio", "Share of the KV cache that is in use.", lambda one: one.kv_cache_used),
    Figure(
        "prefix_cache_queries",
        "Tokens looked for in the prefix cache since its engine started.",
        _counted(lambda reading: reading.prefix_queries),
        CounterMetricFamily,
    ),
    Figure(
        "prefix_cache_hits",
        "Tokens found in the prefix cache since its engine started.",
        _counted(lambda reading: reading.prefix_hits),
        CounterMetricFamily,
    ),
    Figure(
        "preemptions",
        "Requests that lost their place in the KV cache to others since its engine started.",
        _counted(lambda reading: reading.preemptions),
        CounterMetricFamily,
    ),
    Figure("gpu_memory_used_bytes", "Memory in use on its cards.", lambda one: _bytes(one.gpu_memory_used_gib)),
    Figure("gpu_memory_total_bytes", "Memory of its cards.", lambda one: _bytes(one.gpu_memory_total_gib)),
    Figure("gpus", "Cards that it has.", lambda one: one.deployment.gpu_count),
    Figure("spent_usd", "What it has cost so far.", lambda one: one.deployment.spent_usd(one.at)),
    Figure("price_usd_per_hour", "What it bills at most.", lambda one: one.deployment.most_usd_per_hour),
)


class FleetCollector(Collector):
    """Of everything that lives, and of the guard itself. Any thread may scrape it."""

    def __init__(self, fleet: Fleet, turned_at: Callable[[], float]) -> None:
        self._fleet = fleet
        self._turned_at = turned_at
        self._watch = Watch(fleet)
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._families: Sequence[Family] = ()

    def collect(self) -> Iterable[Family]:
        """As it is now, or was `FRESH_S` ago at most."""
        with self._lock:
            if not 0 <= self._fleet.clock.now() - self._looked_at < FRESH_S:
                self._families = self._look()
                self._looked_at = self._fleet.clock.now()
            return self._families

    def close(self) -> None:
        """End its connections."""
        with self._lock:
            self._watch.close()

    def _look(self) -> Sequence[Family]:
        gauges = self._watch.look(PATIENCE_S)
        with self._fleet.apart() as fleet:
            stops = all_stops(fleet, [one.deployment for one in gauges])
        deployments = [_family(figure, gauges) for figure in FIGURES]
        return [*deployments, _states(gauges), _stops(gauges, stops), *self._guard(len(gauges))]

    def _guard(self, deployments: int) -> Sequence[Family]:
        info = GaugeMetricFamily("gpu_guard_info", "The guard that tells this.", labels=("version",))
        info.add_metric((__version__,), 1.0)
        turned = "When it last looked at what is due."
        return (
            info,
            GaugeMetricFamily("gpu_guard_deployments", "Deployments that live.", deployments),
            GaugeMetricFamily("gpu_guard_last_turn_timestamp_seconds", turned, self._turned_at()),
        )


def _family(figure: Figure, gauges: Sequence[Gauges]) -> Family:
    family = figure.family(f"gpu_deployment_{figure.name}", figure.help, labels=LABELS)
    for one in gauges:
        if (value := figure.of(one)) is not None:
            family.add_metric(_labels(one.deployment), value)
    return family


def _states(gauges: Sequence[Gauges]) -> Family:
    family = GaugeMetricFamily("gpu_deployment_state", "1 for the state that it is in.", labels=(*LABELS, "state"))
    for one in gauges:
        for state in sorted(LIVE):
            family.add_metric((*_labels(one.deployment), state), float(one.deployment.state is state))
    return family


def _stops(gauges: Sequence[Gauges], stops: Mapping[str, Sequence[Stop]]) -> Family:
    told = "Until this ends it, unless it gets work meanwhile (idle); of what is armed."
    family = GaugeMetricFamily("gpu_deployment_stop_seconds", told, labels=(*LABELS, "stop", "by"))
    for one in gauges:
        for stop in stops[one.deployment.resource_name]:
            left_s = _left_s(stop, one)
            if stop.armed and left_s is not None:
                family.add_metric((*_labels(one.deployment), stop.kind, stop.by), left_s)
    return family


def _left_s(stop: Stop, gauges: Gauges) -> float | None:
    """Negative when it is late; None where idleness cannot be seen."""
    if stop.at is not None:
        return stop.at - gauges.at
    idle_s = idle_for_s(gauges.deployment, gauges.at)
    return None if stop.after_s is None or idle_s is None else stop.after_s - idle_s


def _labels(deployment: Deployment) -> tuple[str, ...]:
    return deployment.name, deployment.recipe, deployment.provider, deployment.gpu
