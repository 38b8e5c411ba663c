"""Two benchmarks side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpu_cli.bench.result import BenchRun, Level, Spread

FIGURES: Mapping[str, Callable[[Level, float], float | None]] = {
    "output_tokens_per_s": lambda level, _: level.output_tokens_per_s,
    "time_to_first_token_s": lambda level, _: _median(level.time_to_first_token_s),
    "inter_token_latency_s": lambda level, _: _median(level.inter_token_latency_s),
    "latency_s": lambda level, _: _median(level.latency_s),
    "usd_per_million_output_tokens": lambda level, usd_per_hour: level.usd_per_million_output_tokens(usd_per_hour),
}
"""What is compared, by name: of a level, at a price an hour. Of what has a spread, the median."""


@dataclass(frozen=True)
class Compared:
    """One pressure, at both."""

    first: Level
    second: Level
    ratios: Mapping[str, float | None]
    """Of each of `FIGURES`, the second as a multiple of the first; None where there is none."""


def side_by_side(first: BenchRun, second: BenchRun) -> Sequence[Compared]:
    """The pressures that both were put under; incomplete levels are compared as they are."""
    others = {(level.concurrency, level.rate_per_s): level for level in second.levels}
    pairs = [(level, others.get((level.concurrency, level.rate_per_s))) for level in first.levels]
    prices_usd = first.subject.price_usd_per_hour, second.subject.price_usd_per_hour
    return [Compared(one, other, _ratios(one, other, *prices_usd)) for one, other in pairs if other]


def _ratios(first: Level, second: Level, first_usd: float, second_usd: float) -> Mapping[str, float | None]:
    return {name: _ratio(figure(first, first_usd), figure(second, second_usd)) for name, figure in FIGURES.items()}


def _ratio(first: float | None, second: float | None) -> float | None:
    return second / first if first and second is not None else None


def _median(spread: Spread | None) -> float | None:
    return spread.median if spread else None
