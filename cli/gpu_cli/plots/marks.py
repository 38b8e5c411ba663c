"""Where on a curve its marks stand, so that curves which lie on top of one another can be told apart."""

from collections.abc import Sequence
from itertools import pairwise
from math import log10

from gpu_cli.plots.charts import Curve

_MARKS = 6
_STRIDE = 0.37
"""Of the distance between marks, by which each curve's are further right: no two of ten curves share theirs."""

Points = Sequence[tuple[float, float]]


def in_decades(curve: Curve) -> Points:
    """Its points as they lie on logarithmic axes."""
    return [(log10(volume), log10(cost)) for volume, cost in curve.points]


def marks_of(points: Points, position: int) -> Points:
    """Places at even distances along straight lines between points, for the curve at this position among the others."""
    first, last = points[0][0], points[-1][0]
    shares = [(mark + position * _STRIDE % 1) / _MARKS for mark in range(_MARKS)]
    return [(at, _height(points, at)) for at in (first + share * (last - first) for share in shares)]


def _height(points: Points, at: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if at < right:
            return low + (high - low) * (at - left) / (right - left)
    return points[-1][1]
