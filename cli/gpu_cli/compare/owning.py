"""What it costs to own the cards, and when they have paid for themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_cli.compare.costs import PerDeployment
from gpu_cli.compare.options import Figure, Option, Source, Unused, Way, cards_text
from gpu_cli.compare.price_table import Card, Ownership
from gpu_cli.compare.speeds import KnownCapacity, Speeds
from gpu_cli.compare.volume import HOURS_PER_MONTH, Volume
from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.sizing import Verdict

_COUNTS = (1, 2, 4, 8)
"""Of the cards in one machine."""
YOURS = "yours"


@dataclass(frozen=True)
class Machine:
    """A machine with cards, bought."""

    usd: float
    """Of cards and host."""
    running_usd_per_month: float
    """Power and staff."""
    usd_per_month: float
    """With what it loses in value, spread over its life."""


@dataclass(frozen=True)
class Owned:
    """Cards to buy, as a way of serving."""

    card: str
    card_count: int
    machine: Machine
    cost: PerDeployment
    option: Option
    """The same, to be compared."""

    def machines(self, volume: Volume) -> int:
        """How many have to be bought."""
        return self.cost.deployments(volume)

    def pays_back_after_months(self, volume: Volume, rival_usd_per_month: float) -> float | None:
        """Until what the rival costs, less what running them costs, has paid for all machines that the volume takes.

        None where that never happens: running them costs as much. Without interest, and without what they sell for.
        """
        count = self.machines(volume)
        saved = rival_usd_per_month - count * self.machine.running_usd_per_month
        return count * self.machine.usd / saved if saved > 0 else None


def machine(card: Card, count: int, ownership: Ownership) -> Machine:
    """At the cards' full power around the clock, which is the most that they can draw."""
    usd = count * card.usd * (1 + ownership.host_share.value)
    watts = count * card.board_power_w * (1 + ownership.host_power_share.value) * ownership.pue.value
    power_usd = watts / 1000 * HOURS_PER_MONTH * ownership.usd_per_kwh.value
    running = power_usd + ownership.staff_hours_per_month.value * ownership.staff_usd_per_hour.value
    lost = usd * (1 - ownership.resale_share.value) / ownership.lifetime_months.value
    return Machine(usd, running, lost + running)


def owned(
    cards: Mapping[str, Card], ownership: Ownership, configurations: Configurations, speeds: Speeds
) -> tuple[list[Owned], list[Unused]]:
    """Each card in the smallest number on which the model fits; and the cards on which it does not."""
    found: list[Owned] = []
    unused: list[Unused] = []
    for name, card in cards.items():
        count = next((count for count in _COUNTS if _fits(configurations, name, count)), None)
        known = speeds.find(name, count, configurations.best(name, count)) if count else None
        if count and known:
            found.append(_owned(name, card, count, machine(card, count, ownership), known))
        else:
            unused.append(Unused(f"a bought {name}", f"the model does not fit on up to {_COUNTS[-1]} in one machine"))
    return found, unused


def _fits(configurations: Configurations, card: str, count: int) -> bool:
    return not configurations.too_small(card, count) and configurations.best(card, count).verdict is Verdict.FITS


def _owned(name: str, card: Card, count: int, bought: Machine, known: KnownCapacity) -> Owned:
    cost = PerDeployment(known.capacity, bought.usd_per_month, HOURS_PER_MONTH)
    option = Option(
        Way.BUY,
        YOURS,
        cards_text(name, count),
        cost,
        Figure(Source.LIST_PRICE, card.as_of),
        known.figure,
        notes=(card.note,) if card.note else (),
        price_source=card.source,
    )
    return Owned(name, count, bought, cost, option)
