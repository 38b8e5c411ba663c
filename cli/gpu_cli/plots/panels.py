"""Which diagrams a benchmark gives: throughput, and the latencies that were measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_cli.bench.result import Level, Spread
from gpu_cli.plots.charts import BenchChart
from gpu_cli.plots.words import count, pressure, seconds

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One figure of every level; None where a level has none."""

    label: str
    value: Callable[[Level], float | None]

    def points(self, levels: Sequence[Level]) -> list[Point]:
        """(pressure, figure) of those levels that have one."""
        return [(pressure(level), figure) for level in levels if (figure := self.value(level)) is not None]


@dataclass(frozen=True)
class Panel:
    """One diagram: the first of its lines matters most."""

    title: str
    lines: tuple[Line, ...]
    in_words: Callable[[float], str]
    """A value as it stands on the axis."""


def panels_of(charts: Sequence[BenchChart]) -> tuple[Panel, ...]:
    """Answers that came in one piece have no first token."""
    streamed = all(chart.run.load.streaming for chart in charts)
    return (_THROUGHPUT, *(_STREAMED if streamed else _IN_ONE_PIECE))


def _latency(title: str, spread: Callable[[Level], Spread | None]) -> Panel:
    def median(level: Level) -> float | None:
        found = spread(level)
        return found.median if found else None

    def p99(level: Level) -> float | None:
        found = spread(level)
        return found.p99 if found else None

    return Panel(title, (Line("median", median), Line("p99", p99)), seconds)


_THROUGHPUT = Panel("Output tokens/s", (Line("all requests", lambda level: level.output_tokens_per_s),), count)
_STREAMED = (
    _latency("Time to first token", lambda level: level.time_to_first_token_s),
    _latency("Inter-token latency", lambda level: level.inter_token_latency_s),
)
_IN_ONE_PIECE = (_latency("Request latency", lambda level: level.latency_s),)
