"""What a plan can be the best in, and how it says so."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gpu_cli.units import format_duration, format_usd

_SAME = 0.005
"""A difference below half a percent is not worth a word."""


class Optimize(StrEnum):
    """What the first candidate is the best in."""

    PRICE = "price"
    """Of a session."""
    COST_PER_TOKEN = "cost-per-token"  # noqa: S105 - no secret
    """Of what it answers while it is busy."""
    START = "start"
    """From the order until it answers."""


@dataclass(frozen=True)
class _Words:
    best: str
    gain: str
    loss: Callable[[float], str]


_WORDS: Mapping[Optimize, _Words] = {
    Optimize.PRICE: _Words("cheapest", "less", lambda usd: f"{format_usd(usd)} more a session"),
    Optimize.COST_PER_TOKEN: _Words("cheapest per token", "less", lambda usd: f"{format_usd(usd)} more a million"),
    Optimize.START: _Words("soonest to answer", "sooner", lambda s: f"{format_duration(round(s))} more to start"),
}


def why_first(optimize: Optimize, value: float, next_value: float | None, *, which: str) -> str:
    """Of the first candidate: what it is the best in, and by how much. `which` says among which: `that fits`."""
    words = _WORDS[optimize]
    best = f"{words.best} {which}".strip()
    if not math.isfinite(value):
        return "its speed is not known, nor that of any other"
    if next_value is None:
        return f"the only one {which}".strip()
    if value == 0:
        return f"{best}: free"
    if not math.isfinite(next_value) or next_value - value <= _SAME * next_value:
        return f"{best}, with the next"
    return f"{best}; {1 - value / next_value:.0%} {words.gain} than the next"


def why_later(optimize: Optimize, value: float, first_value: float) -> str:
    """Of the others: what they cost more than the first."""
    if not math.isfinite(value):
        return "its speed is not known"
    if value - first_value <= _SAME * value:
        return "as good as the first"
    return _WORDS[optimize].loss(value - first_value)


@lru_cache
def why_expected(starts: int, failed: int, where: str) -> str:
    """By which starts of ours one is expected to go otherwise than its cloud's terms say; empty for none."""
    if not starts:
        return ""
    seen = "1 start" if starts == 1 else f"{starts} starts"
    return f" (seen: {seen} {where}{f', {failed} failed' if failed else ''})"
