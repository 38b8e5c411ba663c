"""How much is asked of a model: how many requests a day, how long they are, and when they come."""

import math
import re
from dataclasses import dataclass, replace

HOURS_PER_MONTH = 730.0
"""A twelfth of a year of 365 days, as clouds reckon."""
DAYS_PER_MONTH = HOURS_PER_MONTH / 24

_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kMBT]?)", re.ASCII)
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_GROWTH = re.compile(r"(-?\d{1,3}(?:\.\d{1,3})?)%(?:/month)?", re.ASCII)


def parse_amount(text: str) -> float:
    """A number of things, as in `500`, `20k`, `1.5M` or `2B`. Raises ValueError for anything else, and for none."""
    match = _AMOUNT.fullmatch(text)
    amount = float(match[1]) * _FACTORS[match[2]] if match else 0.0
    if not 0 < amount <= 1e15:
        raise ValueError(f"{text!r} is no amount; write it as 500, 20k, 1.5M or 2B")
    return amount


def parse_growth(text: str) -> float:
    """By which part of itself something grows in a month, as in `10%` or `10%/month`. Raises ValueError."""
    match = _GROWTH.fullmatch(text)
    if not match or not -100 < float(match[1]) <= 100:
        raise ValueError(f"{text!r} is no growth; write it as 10%/month, above -100% and at most 100%")
    return float(match[1]) / 100


@dataclass(frozen=True)
class Volume:
    """What is asked, on a day on which anything is asked at all."""

    requests_per_day: float
    input_tokens: float
    """Of each request."""
    output_tokens: float
    """Of each answer."""
    hours_per_day: float = 24.0
    days_per_month: float = DAYS_PER_MONTH
    peak: float = 1.0
    """What comes in the busiest hour, for each request of an average one."""

    @property
    def tokens_per_day(self) -> float:
        """Prompts and answers."""
        return self.requests_per_day * (self.input_tokens + self.output_tokens)

    @property
    def requests_per_month(self) -> float:
        """On all days of use."""
        return self.requests_per_day * self.days_per_month

    @property
    def tokens_per_month(self) -> float:
        """Prompts and answers."""
        return self.tokens_per_day * self.days_per_month

    @property
    def hours_per_month(self) -> float:
        """In which requests come."""
        return self.hours_per_day * self.days_per_month

    @property
    def requests_per_s(self) -> float:
        """On average over the hours of use."""
        return self.requests_per_day / (3600 * self.hours_per_day)

    @property
    def all_day(self) -> bool:
        """There is no hour without use."""
        return math.isclose(self.hours_per_month, HOURS_PER_MONTH)

    def times(self, factor: float) -> "Volume":
        """So many more requests of the same kind, in the same hours."""
        return replace(self, requests_per_day=self.requests_per_day * factor)
