"""The ways to get a model's answers, with names, and where each figure is from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from gpu_cli.compare.costs import Cost
from gpu_cli.compare.volume import Volume

OLD_AFTER = timedelta(days=90)


class Way(StrEnum):
    """How a model is paid for."""

    ALWAYS_ON = "always on"
    WHILE_USED = "while used"
    SERVERLESS = "serverless"
    CALL = "call"
    """The same model as an API."""
    CALL_OTHER = "call other"
    """Another open model, which may stand in for it."""
    REFERENCE = "reference"
    """A closed model: for the price alone."""
    BUY = "buy"


SERVED = (Way.ALWAYS_ON, Way.WHILE_USED, Way.SERVERLESS)
"""On rented machines."""

OTHER_MODELS = (Way.CALL_OTHER, Way.REFERENCE)
"""Than the one that was asked for."""


class Source(StrEnum):
    """What stands behind a figure."""

    MEASURED = "measured"
    """On a deployment of the user's own."""
    ESTIMATED = "estimated"
    """By the planner."""
    LIST_PRICE = "list price"


@dataclass(frozen=True)
class Figure:
    """Where a figure is from, and the day that it is of; None for one that is worked out now."""

    source: Source
    as_of: date | None = None

    def is_old(self, today: date) -> bool:
        """Whether it should be looked up again: list prices change a few times a year."""
        return self.as_of is not None and today - self.as_of > OLD_AFTER


@dataclass(frozen=True)
class Option:
    """One way, with all that is known of it."""

    way: Way
    provider: str
    name: str
    """What is rented, called or bought there."""
    cost: Cost
    price: Figure
    speed: Figure | None = None
    """None where it is somebody else's business."""
    notes: tuple[str, ...] = ()
    price_source: str = ""
    """Where its price can be looked up; empty where that is the cloud itself."""


@dataclass(frozen=True)
class Unused:
    """Something that is not compared."""

    name: str
    reason: str


def cheapest(options: Sequence[Option], volume: Volume) -> Option | None:
    """What costs least for this volume; of equals the first. None of nothing."""
    return min(options, key=lambda one: one.cost.usd_per_month(volume), default=None)


def cheapest_of_each(options: Sequence[Option], volume: Volume) -> list[Option]:
    """Of each way of serving the cheapest."""
    found = (cheapest([option for option in options if option.way is way], volume) for way in SERVED)
    return [option for option in found if option]


def cards_text(card: str, count: int) -> str:
    """`H100`, or `H100 x2`."""
    return card if count < 2 else f"{card} x{count}"
