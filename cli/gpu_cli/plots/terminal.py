"""The same charts in letters, for a terminal."""

from collections.abc import Callable, Sequence
from itertools import cycle
from math import ceil, floor, log2, log10

from gpu_cli.plots.charts import BenchChart, CostChart, Curve
from gpu_cli.plots.letters import GLYPHS, Axis, Diagram, Trace
from gpu_cli.plots.marks import in_decades, marks_of
from gpu_cli.plots.panels import Panel, panels_of
from gpu_cli.plots.words import count, dollars, pressure, pressure_axis

_GAP = "   "
_NARROWEST_PANEL = 36
_PANEL_ROWS, _COST_ROWS = 12, 18


def bench_in_terminal(charts: Sequence[BenchChart], columns: int, *, colour: bool) -> str:
    """Throughput, and beside it as many of the latencies as there is room for; no line longer than `columns`."""
    panels = panels_of(charts)[: max(1, (columns + len(_GAP)) // (_NARROWEST_PANEL + len(_GAP)))]
    width = (columns - len(_GAP) * (len(panels) - 1)) // len(panels)
    blocks = [_panel(panel, charts).lines(width, _PANEL_ROWS, colour=colour) for panel in panels]
    names = [_legend([chart.run.subject.name for chart in charts])] if len(charts) > 1 else []
    knee = "; dotted: the knee" if any(chart.knee for chart in charts) else ""
    below = f"against {pressure_axis(charts[0].run)}{knee}"
    rows = [_GAP.join(row).rstrip() for row in zip(*blocks, strict=True)]
    return "\n".join((*_cut(names, columns), *rows, *_cut([below], columns)))


def cost_in_terminal(chart: CostChart, columns: int, *, colour: bool) -> str:
    """Monthly cost against volume, and below it which letter is which option; no line longer than `columns`."""
    traces = [_trace(curve, position) for position, curve in enumerate(chart.curves)]
    points = [point for trace in traces for point in trace.points]
    asked = [log10(chart.tokens_per_day)] if chart.tokens_per_day else []
    x = _decades([at for at, _ in points] + asked, count)
    y = _decades([cost for _, cost in points], dollars)
    lines = Diagram(chart.title, traces, x, y, asked).lines(columns, _COST_ROWS, colour=colour)
    below = f"US dollars a month against tokens a day{'; dotted: as asked' if asked else ''}"
    meaning = [f"{glyph} {curve.label}" for glyph, curve in zip(cycle(GLYPHS), chart.curves, strict=False)]
    return "\n".join((*map(str.rstrip, lines), *_cut([below, *meaning], columns)))


def _panel(panel: Panel, charts: Sequence[BenchChart]) -> Diagram:
    """One benchmark with all lines of the panel; of several the one that matters most."""
    found = (
        [line.points(charts[0].run.levels) for line in panel.lines]
        if len(charts) == 1
        else [panel.lines[0].points(chart.run.levels) for chart in charts]
    )
    by_doublings = [[(log2(at), value) for at, value in points] for points in found]
    traces = [Trace(points, points) for points in by_doublings]
    tried = sorted({pressure(level) for chart in charts for level in chart.run.levels})
    ticks = [(log2(at), count(at)) for at in tried]
    explained = _legend([line.label for line in panel.lines]) if len(charts) == 1 < len(panel.lines) else ""
    title = ": ".join(filter(None, (panel.title, explained)))
    uprights = [log2(pressure(chart.knee)) for chart in charts if chart.knee]
    x = Axis(ticks[0][0] - 0.1, ticks[-1][0] + 0.1, ticks)
    return Diagram(title, traces, x, _from_zero(traces, panel.in_words), uprights)


def _trace(curve: Curve, position: int) -> Trace:
    points = in_decades(curve)
    return Trace(points, marks_of(points, position))


def _legend(labels: Sequence[str]) -> str:
    return ", ".join(f"{glyph} {label}" for glyph, label in zip(GLYPHS, labels, strict=False))


def _cut(lines: Sequence[str], columns: int) -> Sequence[str]:
    return [line[:columns] for line in lines]


def _from_zero(traces: Sequence[Trace], in_words: Callable[[float], str]) -> Axis:
    """Up to a round number that is not less than any value."""
    most = max((value for trace in traces for _, value in trace.points), default=0.0) or 1.0
    size = 10.0 ** floor(log10(most))
    top = next(step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * size >= most)
    return Axis(0.0, top, [(share * top, in_words(share * top)) for share in (0.0, 0.5, 1.0)])


def _decades(values: Sequence[float], in_words: Callable[[float], str]) -> Axis:
    """A tick for every power of ten, and room for what lies between the outermost ones."""
    low, high = min(values), max(values)
    return Axis(low, high, [(at, in_words(10.0**at)) for at in range(ceil(low), floor(high) + 1)])
