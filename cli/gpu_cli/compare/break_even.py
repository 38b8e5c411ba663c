"""From which volume on one way is the cheaper one: where cost curves cross, their steps counted."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, zip_longest
from operator import le
from typing import NamedTuple

from gpu_cli.compare.costs import Cost, PerToken
from gpu_cli.compare.volume import Volume

MOST_DEPLOYMENTS = 64
"""Beyond that, of the largest, nothing is looked at; of others no more steps than that."""
_POINTS_PER_DECADE = 24
"""Between steps, where a curve of serverless bends."""
_JUST_ABOVE = 1 + 1e-8
_HALVINGS = 60


@dataclass(frozen=True)
class Range:
    """Volumes of the same kind, in tokens a day."""

    above: float
    """0 for from the first request on."""
    up_to: float | None
    """None for as far as anybody looked."""


class Envelope:
    """The cheapest of several ways at any volume of one kind, worked out wherever a curve may jump.

    Volumes are multiples of the one that it is made for.
    """

    def __init__(self, costs: Sequence[Cost], volume: Volume) -> None:
        self._costs = undominated(costs, volume)
        self._volume = volume

    def usd(self, factor: float) -> float:
        """A month, by the cheapest."""
        volume = self._volume.times(factor)
        return min(cost.usd_per_month(volume) for cost in self._costs)

    def curve(self, low: float, high: float) -> Iterator[tuple[float, float]]:
        """What volumes between these cost a month, from small to large; the same volume twice where the cost jumps."""
        for edge in self._edges:
            if low <= edge.factor <= high:
                yield edge.factor, edge.usd
                if edge.usd_above > edge.usd * _JUST_ABOVE:
                    yield edge.factor, edge.usd_above

    def cheaper_than(self, call: PerToken) -> tuple[Range, ...]:
        """The volumes at which it costs less than a call, from small to large."""
        call_usd, tokens = call.usd_per_month(self._volume), self._volume.tokens_per_day
        flips = [flip * tokens for flip in self._flips(call_usd)]
        begins_cheaper = self._edges[0].usd_above < call_usd * self._edges[0].factor
        ends = [0.0, *flips] if begins_cheaper else flips
        return tuple(Range(above, up_to) for above, up_to in zip_longest(ends[::2], ends[1::2]))

    def _flips(self, call_usd: float) -> Iterator[float]:
        """Where the cheaper one becomes the other one."""
        less = self._edges[0].usd_above < call_usd * self._edges[0].factor
        for here, there in pairwise(self._edges):
            if (here.usd_above < call_usd * here.factor) != less:
                less = not less
                yield here.factor
            if (there.usd < call_usd * there.factor) != less:
                less = not less
                yield self._crossing(here.factor * _JUST_ABOVE, there.factor, call_usd)

    def _crossing(self, low: float, high: float, call_usd: float) -> float:
        less_at_high = self.usd(high) < call_usd * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if (self.usd(middle) < call_usd * middle) == less_at_high:
                high = middle
            else:
                low = middle
        return high

    @cached_property
    def _edges(self) -> Sequence["_Edge"]:
        """From one token a day to as much as `MOST_DEPLOYMENTS` of the largest do, in rising order."""
        steps = [step for step in (cost.filled_by(self._volume) for cost in self._costs) if step]
        low, high = 1 / self._volume.tokens_per_day, MOST_DEPLOYMENTS * max(steps)
        count = max(2, round(math.log10(high / low) * _POINTS_PER_DECADE))
        grid = {low * (high / low) ** (position / count) for position in range(count + 1)}
        jumps = {step * times for step in steps for times in range(1, min(MOST_DEPLOYMENTS, int(high / step)) + 1)}
        return [self._edge(factor, jumps=factor in jumps) for factor in sorted(grid | jumps)]

    def _edge(self, factor: float, *, jumps: bool) -> "_Edge":
        usd = self.usd(factor)
        return _Edge(factor, usd, self.usd(factor * _JUST_ABOVE) if jumps else usd)


class _Edge(NamedTuple):
    """A volume, and what it costs there and just above."""

    factor: float
    usd: float
    usd_above: float


def undominated(costs: Sequence[Cost], volume: Volume) -> list[Cost]:
    """Without those that another one of their kind never loses to, for such requests."""
    kept: list[tuple[tuple[float, ...], Cost]] = []
    for burdens, cost in sorted(((cost.burdens(volume), cost) for cost in costs), key=lambda found: found[0]):
        rivals = (other for other, one in kept if type(one) is type(cost))
        if not any(all(map(le, other, burdens)) for other in rivals):
            kept.append((burdens, cost))
    return [cost for _, cost in kept]
