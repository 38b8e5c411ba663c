"""A history that breaks something, cut down to the steps that matter."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from storm import History, Step, told

Breaks = Callable[[History], str]
"""The kind of the first thing that goes wrong in it; empty when nothing does."""


def what_breaks(history: History) -> str:
    """As `Breaks`. A simulation that comes to a halt breaks too."""
    try:
        problems = told(history).problems
    except Exception as error:  # noqa: BLE001 - it is told like any other problem
        return type(error).__name__
    return problems[0].partition(":")[0] if problems else ""


def shrunk(history: History, breaks: Breaks = what_breaks) -> History:
    """Without every step without which it still breaks in the same way: larger parts are dropped first."""
    kind, size = breaks(history), len(history.steps) // 2
    while size:
        history = _without_parts(history, size, lambda smaller: breaks(smaller) == kind)
        size //= 2
    return history


def _without_parts(history: History, size: int, still_breaks: Callable[[History], bool]) -> History:
    start = 0
    while start < len(history.steps):
        smaller = replace(history, steps=_cut(history.steps, start, size))
        if still_breaks(smaller):
            history = smaller
        else:
            start += size
    return history


def _cut(steps: Sequence[Step], start: int, size: int) -> tuple[Step, ...]:
    return (*steps[:start], *steps[start + size :])
