"""Figures and headings as they stand on charts."""

from collections.abc import Sequence
from pathlib import Path

from gpu_cli.bench.result import BenchRun, Level
from gpu_cli.plots.charts import BenchChart
from gpu_cli.units import format_duration, format_usd

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Three digits at most: `0.5`, `16`, `1.5k`, `20M`."""
    for size, letter in _SCALES:
        if abs(value) >= 0.9995 * size:  # which is rounded to as much
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """`0`, `35 ms`, `1.2 s`."""
    if 0 < abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value else "0"


def dollars(value: float) -> str:
    """`$0.05`, `$12`, `$1.5k`."""
    return f"${count(value)}"


def pressure(level: Level) -> float:
    """How many at once, or how many arrive in a second."""
    return float(level.concurrency or level.rate_per_s or 0)


def pressure_axis(run: BenchRun) -> str:
    """What the axis of `pressure` is called."""
    by_rate = any(level.concurrency is None for level in run.levels)
    return "requests per second" if by_rate else "requests at once"


def bench_title(chart: BenchChart) -> str:
    """Who was measured, on what, at which price."""
    subject = chart.run.subject
    cards = subject.gpu if subject.gpu_count < 2 else f"{subject.gpu} x{subject.gpu_count}"
    weights = "/".join(subject.model.rpartition("://")[2].split("/")[-2:])  # of a folder, its end says most
    model = " ".join(filter(None, (weights, subject.quantization)))
    return f"{subject.name}: {model} on {cards}, {format_usd(subject.price_usd_per_hour)}/h"


def load_in_words(charts: Sequence[BenchChart]) -> str:
    """With which requests they were measured, and by what: the same for all."""
    run = charts[0].run
    asked = Path(run.load.dataset).name or f"{run.load.input_tokens} tokens in, {run.load.output_tokens} out"
    streaming = "streamed" if run.load.streaming else "not streamed"
    hollow = "; hollow: incomplete levels" if any(chart.run.partial for chart in charts) else ""
    return f"{asked}, {streaming}, {format_duration(run.load.duration_s)} a level; measured by {run.generator}{hollow}"
