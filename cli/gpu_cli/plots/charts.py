"""What is drawn, as values: who draws them needs to know nothing of how the figures came about."""

from dataclasses import dataclass
from typing import Literal

from gpu_cli.bench.result import BenchRun, Level

CurveKind = Literal["serve", "call", "reference", "buy"]
"""`serve`: a rented card; `call`: an API with an open model; `reference`: a closed one; `buy`: a card of one's own."""


@dataclass(frozen=True)
class BenchChart:
    """One benchmark, and where its knee lies."""

    run: BenchRun
    knee: Level | None
    """One of the run's levels; None where it was not reached."""


@dataclass(frozen=True)
class Curve:
    """What an option costs by volume, from left to right: straight between points, where both axes are logarithmic."""

    label: str
    """A few words: it stands in the legend."""
    kind: CurveKind
    points: tuple[tuple[float, float], ...]
    """(tokens a day, USD a month), both above 0. Two points at one volume are a step: another deployment."""


@dataclass(frozen=True)
class Crossing:
    """Where the cheaper of two options becomes the other one."""

    tokens_per_day: float
    usd_per_month: float
    label: str
    """A few words: it stands beside the mark."""


@dataclass(frozen=True)
class CostChart:
    """Monthly cost against volume, of options that can be told apart up to about ten."""

    title: str
    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...] = ()
    tokens_per_day: float | None = None
    """The volume that was asked about, marked by an upright line."""
    note: str = ""
    """One line below: where the figures are from, and of when."""
