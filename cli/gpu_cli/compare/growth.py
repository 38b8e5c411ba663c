"""What a growing volume costs month by month, and when another way becomes the cheapest."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_cli.compare.options import Option, cheapest
from gpu_cli.compare.volume import Volume


@dataclass(frozen=True)
class Month:
    """One month of a growing volume."""

    number: int
    """1 for the first."""
    volume: Volume
    usd_by_group: tuple[tuple[Option, float], ...]
    """Of each group of options the cheapest, and what it costs in this month; in the groups' order."""

    @property
    def answer(self) -> Option:
        """Of all groups the cheapest; of equals the first."""
        return min(self.usd_by_group, key=lambda found: found[1])[0]


def months(groups: Sequence[Sequence[Option]], volume: Volume, growth: float, count: int) -> list[Month]:
    """The first `count` months; each asks for `growth` more than the one before."""
    return [_month(number, groups, volume.times((1 + growth) ** (number - 1))) for number in range(1, count + 1)]


def _month(number: int, groups: Sequence[Sequence[Option]], volume: Volume) -> Month:
    found = (cheapest(group, volume) for group in groups)
    return Month(number, volume, tuple((one, one.cost.usd_per_month(volume)) for one in found if one))
