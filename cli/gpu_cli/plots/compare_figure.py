"""Monthly cost against volume, as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from gpu_cli.plots.charts import CostChart, Crossing, Curve, CurveKind
from gpu_cli.plots.marks import in_decades, marks_of
from gpu_cli.plots.style import COLOURS, FAINT, INK, house_style, tick_formatter, write_figure
from gpu_cli.plots.words import count, dollars

Dashes = Literal["-", "-.", "--", ":"]

_KINDS: Mapping[CurveKind, tuple[Dashes, float]] = {
    "serve": ("-", 2.2),
    "buy": ("-.", 2.2),
    "call": ("--", 1.5),
    "reference": (":", 1.5),
}
"""By kind: the dashes of a line, and how thick it is."""
_MARKERS = "os^DvPX*<>"
_BADGE = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": INK}
_LEADER = {"arrowstyle": "-", "color": INK, "linewidth": 0.8}


def write_cost_figure(chart: CostChart, folder: Path, name: str) -> tuple[Path, ...]:
    """`<name>.png` and `<name>.svg`, and where they are. Raises UserError where the folder cannot be written."""
    with house_style():
        return write_figure(_drawn(chart), folder, name)


def _drawn(chart: CostChart) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots()
    lines = [_draw_curve(axes, curve, position) for position, curve in enumerate(chart.curves)]
    _dress(axes)
    if chart.tokens_per_day:
        _mark_volume(axes, chart.tokens_per_day)
    _explain(axes, chart.curves, lines)
    _mark_crossings(axes, chart.crossings)
    axes.set_title(chart.title, fontsize=12, pad=18)
    figure.supxlabel(chart.note, x=0.01, ha="left", fontsize=8.5, color=FAINT)
    return figure


def _draw_curve(axes: Axes, curve: Curve, position: int) -> Line2D:
    """The curve; and as it stands in the legend, with its marker."""
    dashes, width = _KINDS[curve.kind]
    colour, marker = COLOURS[position % len(COLOURS)], _MARKERS[position % len(_MARKERS)]
    axes.plot(*zip(*curve.points, strict=True), dashes, color=colour, linewidth=width)
    for at, height in marks_of(in_decades(curve), position):
        axes.plot(10**at, 10**height, marker, color=colour)
    return Line2D([], [], linestyle=dashes, color=colour, linewidth=width, marker=marker, label=curve.label)


def _dress(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    for axis, in_words in ((axes.xaxis, count), (axes.yaxis, dollars)):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(tick_formatter(in_words))
    axes.set(xlabel="tokens a day, in and out", ylabel="US dollars a month")


def _mark_volume(axes: Axes, tokens_per_day: float) -> None:
    axes.axvline(tokens_per_day, color=FAINT, linewidth=1, dashes=(4, 3))
    place = (tokens_per_day, 1.01)
    axes.annotate(
        f"asked: {count(tokens_per_day)}", place, xycoords=("data", "axes fraction"), ha="center", fontsize=8.5
    )


def _explain(axes: Axes, curves: Sequence[Curve], lines: Sequence[Line2D]) -> None:
    """The legend, in the order in which the curves end at the right."""
    last_costs = [curve.points[-1][1] for curve in curves]
    ordered = [line for _, line in sorted(zip(last_costs, lines, strict=True), key=lambda pair: -pair[0])]
    axes.legend(handles=ordered, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, handlelength=3.5)


def _mark_crossings(axes: Axes, crossings: Sequence[Crossing]) -> None:
    """Numbers beside the curves, above and below in turn, and words at the right."""
    words = []
    for number, crossing in enumerate(sorted(crossings, key=lambda one: one.tokens_per_day), start=1):
        place = (crossing.tokens_per_day, crossing.usd_per_month)
        beside = (-14, 22) if number % 2 else (14, -22)
        axes.plot(*place, "o", color=INK, markersize=4, zorder=5)
        axes.annotate(
            str(number), place, beside, textcoords="offset points", bbox=_BADGE, arrowprops=_LEADER, fontsize=8
        )
        words.append(f"{number}  {count(crossing.tokens_per_day)} a day: {crossing.label}")
    axes.text(1.03, 0.0, "\n".join(words), transform=axes.transAxes, va="bottom", fontsize=9, linespacing=1.5)
