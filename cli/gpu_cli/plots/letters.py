"""One diagram in letters: what `plotext` is told, and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotext  # type: ignore[import-untyped]  # it has neither types nor stubs

COLOURS = ("blue", "red", "green", "magenta", "cyan", "orange")
"""Of the sixteen that a terminal has, those that can be read on a light and on a dark ground."""
GLYPHS = "ox*+#@%&^v"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Trace:
    """Points joined by a line, and a glyph at each of the marks; both by the trace's position among the others."""

    points: Points
    marks: Points


@dataclass(frozen=True)
class Axis:
    """What is seen of it, and its ticks."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Diagram:
    """Traces on two linear axes, with upright lines at some places."""

    title: str
    traces: Sequence[Trace]
    x: Axis
    y: Axis
    uprights: Sequence[float] = ()

    def lines(self, columns: int, rows: int, *, colour: bool) -> list[str]:
        """As many as `rows`, each `columns` wide."""
        figure = plotext.figure
        figure.clear.all()
        figure.theme("colorless")
        figure.plot_size(columns, rows)
        figure.title(self.title[:columns])
        figure.axes(False, side=1)
        for name, axis in (("x", self.x), ("y", self.y)):
            figure.ruler(name).lim(axis.low, axis.high)
            figure.ruler(name).ticks([at for at, _ in axis.ticks], [label for _, label in axis.ticks])
        for at in self.uprights:
            figure.line(at, orientation=1, style="dotted")
        self._draw_traces(figure)
        drawn: str = figure.build().string(not colour)
        return drawn.rstrip("\n").split("\n")

    def _draw_traces(self, figure: Any) -> None:
        """First all lines, then all glyphs: none is hidden behind a line."""
        for position, trace in enumerate(self.traces):
            if trace.points:
                dots = plotext.marker("braille", COLOURS[position % len(COLOURS)])
                figure.draw(figure.signal(*zip(*trace.points, strict=True), marker=dots).lines())
        for position, trace in enumerate(self.traces):
            if trace.marks:
                glyph = plotext.marker(GLYPHS[position % len(GLYPHS)], COLOURS[position % len(COLOURS)])
                figure.draw(figure.signal(*zip(*trace.marks, strict=True), marker=glyph))
