"""Serve or call, rent or buy, for one volume: everything that can be said of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from gpu_cli.compare.break_even import Envelope, Range
from gpu_cli.compare.costs import PerToken
from gpu_cli.compare.growth import Month, months
from gpu_cli.compare.options import OTHER_MODELS, Option, Unused, Way, cheapest, cheapest_of_each
from gpu_cli.compare.owning import Owned
from gpu_cli.compare.volume import Volume

_CARDS_SHOWN = 3
"""Of those that may be bought, the cheapest."""


@dataclass(frozen=True)
class Ways:
    """All ways that there are."""

    served: tuple[Option, ...]
    called: tuple[Option, ...]
    """Closed models among them."""
    owned: tuple[Owned, ...] = ()
    unused: tuple[Unused, ...] = ()


@dataclass(frozen=True)
class BreakEven:
    """Where serving on rented machines, by whatever way is the cheapest, costs less than an API."""

    called: Option
    serving_is_cheaper: tuple[Range, ...]
    """Empty for never."""


@dataclass(frozen=True)
class PayBack:
    """After how long a machine that was bought has paid for itself, against one way to do without it."""

    owned: Owned
    rival: Option
    months: float | None
    """None for never."""


@dataclass(frozen=True)
class Comparison:
    """What comes of it."""

    day: date
    """Today, by which prices are old or not."""
    volume: Volume
    options: tuple[Option, ...]
    """All ways to the very model (the cheapest of each way of serving, calls, what may be bought), then other open
    models, then closed ones: of each of these what costs least first.
    """
    served: tuple[Option, ...]
    """All ways of serving, for other volumes."""
    unused: tuple[Unused, ...]
    break_evens: tuple[BreakEven, ...]
    """Against each call, in the order of `options`; empty where nothing can be served."""
    pay_backs: tuple[PayBack, ...]
    months: tuple[Month, ...]
    """Empty for a volume that does not grow."""

    @property
    def answer(self) -> Option | None:
        """The cheapest way to this very model; None where there is none."""
        return next((option for option in self.options[:1] if option.way not in OTHER_MODELS), None)

    @property
    def cheaper_other(self) -> Option | None:
        """Another open model that costs less than the answer; None where none does."""
        others = [option for option in self.options if option.way is Way.CALL_OTHER]
        found = cheapest([option for option in (self.answer, *others) if option], self.volume)
        return found if found is not self.answer else None


def compare(ways: Ways, volume: Volume, growth: float, months_shown: int, day: date) -> Comparison:
    """For one volume that grows, or does not."""
    owned = sorted(ways.owned, key=lambda one: one.option.cost.usd_per_month(volume))[:_CARDS_SHOWN]
    bought = [one.option for one in owned]
    called = _in_order(ways.called, volume)
    served = cheapest_of_each(ways.served, volume)
    groups = (ways.served, _nearest(called), bought)
    return Comparison(
        day,
        volume,
        tuple(_in_order([*served, *called, *bought], volume)),
        ways.served,
        ways.unused,
        tuple(_break_evens(ways.served, called, volume)),
        tuple(back for one in owned for back in _pay_backs(one, ways, volume)),
        tuple(months([group for group in groups if group], volume, growth, months_shown) if growth else ()),
    )


def _in_order(options: Iterable[Option], volume: Volume) -> list[Option]:
    def place(one: Option) -> tuple[bool, bool, float]:
        return one.way in OTHER_MODELS, one.way is Way.REFERENCE, one.cost.usd_per_month(volume)

    return sorted(options, key=place)


def _nearest(called: Sequence[Option]) -> list[Option]:
    """The same model where it can be called, else those that may stand in for it."""
    same = [option for option in called if option.way is Way.CALL]
    return same or [option for option in called if option.way is Way.CALL_OTHER]


def _break_evens(served: Sequence[Option], called: Sequence[Option], volume: Volume) -> list[BreakEven]:
    if not served:
        return []
    serving = Envelope([option.cost for option in served], volume)
    priced = ((option, option.cost) for option in called)
    return [BreakEven(option, serving.cheaper_than(cost)) for option, cost in priced if isinstance(cost, PerToken)]


def _pay_backs(owned: Owned, ways: Ways, volume: Volume) -> list[PayBack]:
    """Against renting the same cards, and against calling the same or a comparable model."""
    same = [option for option in ways.served if option.name == owned.option.name]
    rivals = (cheapest(same, volume), cheapest(_nearest(ways.called), volume))
    return [
        PayBack(owned, rival, owned.pays_back_after_months(volume, rival.cost.usd_per_month(volume)))
        for rival in rivals
        if rival
    ]
