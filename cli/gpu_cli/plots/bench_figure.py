"""Throughput and latency against pressure, as files. Several benchmarks share their axes, to be compared by eye."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from gpu_cli.bench.result import Level
from gpu_cli.plots.charts import BenchChart
from gpu_cli.plots.panels import Line, Panel, panels_of
from gpu_cli.plots.style import COLOURS, FAINT, house_style, tick_formatter, write_figure
from gpu_cli.plots.words import bench_title, count, load_in_words, pressure, pressure_axis

_STYLES = (("-", "o", "s"), (":", "^", "D"))
"""Of each line of a panel: its dashes, and its marker for one benchmark and for the other."""


def write_bench_figure(charts: Sequence[BenchChart], folder: Path) -> tuple[Path, ...]:
    """`bench-<names>.png` and `.svg`, for one benchmark or for two side by side, and where they are.

    Raises UserError where the folder cannot be written.
    """
    name = "-".join(("bench", *(chart.run.subject.name for chart in charts)))
    with house_style():
        return write_figure(_drawn(charts), folder, name)


def _drawn(charts: Sequence[BenchChart]) -> Figure:
    panels = panels_of(charts)
    figure = Figure(figsize=(4.2 * len(panels), 4.3 + 0.25 * len(charts)), layout="constrained")
    figure.suptitle("\n".join(map(bench_title, charts)), x=0.01, ha="left", fontsize=12, fontweight="bold", wrap=True)
    figure.supxlabel(load_in_words(charts), x=0.01, ha="left", fontsize=8.5, color=FAINT, wrap=True)
    for panel, axes in zip(panels, figure.subplots(1, len(panels)), strict=True):
        for position, chart in enumerate(charts):
            _draw_chart(axes, panel, chart, position, whose=len(charts) > 1)
        _dress(axes, panel, charts)
    for chart in charts:
        _name_knee(figure.axes[0], chart)
    return figure


def _draw_chart(axes: Axes, panel: Panel, chart: BenchChart, position: int, *, whose: bool) -> None:
    colour, name = COLOURS[position], chart.run.subject.name
    for line, (dashes, *markers) in zip(panel.lines, _STYLES, strict=False):
        alone = name if len(panel.lines) == 1 else f"{name}: {line.label}"
        label = alone if whose else line.label
        axes.plot(*_columns(line, chart.run.levels), dashes, marker=markers[position], color=colour, label=label)
        incomplete = [level for level in chart.run.levels if level.partial]
        axes.plot(*_columns(line, incomplete), markers[position], color=colour, markerfacecolor="white")
    if chart.knee:
        axes.axvline(pressure(chart.knee), color=colour, linewidth=7, alpha=0.25)


def _columns(line: Line, levels: Sequence[Level]) -> tuple[list[float], list[float]]:
    points = line.points(levels)
    return [x for x, _ in points], [y for _, y in points]


def _name_knee(axes: Axes, chart: BenchChart) -> None:
    if chart.knee:
        place = (pressure(chart.knee), 0.03)
        axes.annotate("knee", place, (6, 0), ("data", "axes fraction"), "offset points", fontsize=8.5, rotation=90)


def _dress(axes: Axes, panel: Panel, charts: Sequence[BenchChart]) -> None:
    """Powers of two are equally far apart; every pressure that was tried has its tick, every value is seen from 0."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(
        FixedLocator(sorted({pressure(level) for chart in charts for level in chart.run.levels}))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(tick_formatter(count))
    axes.yaxis.set_major_formatter(tick_formatter(panel.in_words))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(pressure_axis(charts[0].run))
    axes.set_title(panel.title, pad=10)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=8.5)
