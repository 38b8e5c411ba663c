"""What our own starts say about the next one: how far the shipped terms were off, and where.

A start is compared with what was expected of it when it was ordered. What is learnt is by how much that was wrong: so
a start of one model, over one line, says something about another model over another line.

The errors are averaged level by level, from the cloud to its host. Each level's mean is drawn towards that of the level
above it, and the widest towards no error at all, by a number of imagined starts. With yes or no in the place of seconds
that is the mean of a Beta distribution.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gpu_cli.planner.offers.cloud_terms import SPOT_ODDS
from gpu_providers.base import Kind, Offer

HALF_LIFE_S = 30 * 86_400.0
"""After so long a start counts half: clouds, their images and their lines change within months."""
LEARNT_FROM_S = 6 * HALF_LIFE_S
"""Older starts count for nothing worth reading."""

TIMES_PRIOR = 2.0
"""Imagined starts without an error in time. Times repeat within a factor of two or so, and so a few starts of our own
tell more than terms that were written for everybody."""
ODDS_PRIOR = 8.0
"""The same for whether it comes up: a single yes or no tells little where nine of ten work."""

WORST_RATIO = 5.0
"""Of the time that a stage took to what was expected: a machine of the user's that slept meanwhile measures hours."""
LEAST_EXPECTED_S = 1.0
LEAST_ODDS = 0.1
"""Of the odds that the terms give, this much remains whatever was seen: else it would never be tried again."""


class Expected(NamedTuple):
    """What is expected of a start."""

    boot_s: float
    """From the order until the engine's first word: the machine, and the image."""
    load_s: float
    """From then until it answers: the weights, and the engine's own start."""
    odds: float
    """That it comes up and works."""
    free_s: float = 0.0
    """Of the boot, for how long its GPUs are not billed."""


@dataclass(frozen=True)
class PastStart:
    """A start of ours, by where it was. None is what it tells nothing about."""

    provider: str
    kind: Kind
    gpu: str
    gpu_count: int
    region: str
    host: str
    at: float
    """When it was ordered."""
    expected: Expected
    """By the terms alone, as of then."""
    boot_s: float | None = None
    load_s: float | None = None
    came_up: bool | None = None
    kept: bool | None = None
    """Of one that could be taken back: that it was not."""


class Correction(NamedTuple):
    """How far the terms are expected to be off, at one place."""

    boot: float = 0.0
    """Of the time to the engine's first word, as a part of it: 0.5 for half as long again."""
    load: float = 0.0
    """The same of the time from there on."""
    odds: float = 0.0
    """To be added to the odds that it comes up."""
    kept: float = 0.0
    """To be added to the odds that it is not taken back."""
    starts: int = 0
    """Those of ours that taught something, at the nearest place that has any; 0 for none."""
    failed: int = 0
    """Of these, those whose machine did not come up, or broke."""
    where: str = ""
    """Which place that is: `on this host`."""

    def of(self, expected: Expected) -> Expected:
        """What is to be expected instead of what the terms say."""
        if self is _NOTHING:
            return expected
        boot_s, load_s, odds, free_s = expected
        boot, load = 1 + self.boot, 1 + self.load
        return Expected(boot_s * boot, load_s * load, corrected_odds(odds, self.odds), free_s * boot)


def corrected_odds(odds: float, error: float) -> float:
    """With what was learnt added: at most 1, and never so little that it is given up for good."""
    return min(1.0, max(LEAST_ODDS * odds, odds + error))


_NOTHING = Correction()
_PRIORS = (TIMES_PRIOR, TIMES_PRIOR, ODDS_PRIOR, ODDS_PRIOR)
"""Of the first four of a correction, in their order."""


@dataclass
class _Tally:
    """What was seen at one place: for each of the four the weight of all starts, and the sum of their errors."""

    weights: list[float] = field(default_factory=lambda: [0.0] * len(_PRIORS))
    errors: list[float] = field(default_factory=lambda: [0.0] * len(_PRIORS))
    starts: int = 0
    failed: int = 0

    def add(self, start: PastStart, errors: Sequence[float | None], weight: float) -> None:
        """Those of one start."""
        self.starts += 1
        self.failed += start.came_up is False
        for position, error in enumerate(errors):
            if error is not None:
                self.weights[position] += weight
                self.errors[position] += weight * error

    def drawn_towards(self, wider: Correction, where: str) -> Correction:
        """The means here, with those of the wider place as so many more starts."""
        means = [
            (prior * above + errors) / (prior + weight)
            for prior, above, errors, weight in zip(_PRIORS, wider[:4], self.errors, self.weights, strict=True)
        ]
        return Correction._make((*means, self.starts, self.failed, where))


_Place = tuple[str | int, ...]
"""Begins with the words for its level."""
_HOST = "on this host"


@dataclass(frozen=True)
class Expectations:
    """What was learnt, by place. Made by `learnt`; without anything learnt the terms are right."""

    _tallies: Mapping[_Place, _Tally] = field(default_factory=dict)
    _found: dict[_Place, Correction] = field(default_factory=dict, repr=False, compare=False)

    def at(self, offer: Offer) -> Correction:
        """Where this offer is."""
        if not self._tallies:
            return _NOTHING
        key = (offer.provider, offer.kind, offer.gpu, offer.gpu_count, offer.region)
        if (found := self._found.get(key)) is None:
            found = self._found[key] = self._of_region(offer)
        host = self._tallies.get(_host(offer)) if offer.host else None
        return host.drawn_towards(found, _HOST) if host else found

    def _of_region(self, offer: Offer) -> Correction:
        correction = _NOTHING
        for place in _shared_places(offer):
            if tally := self._tallies.get(place):
                correction = tally.drawn_towards(correction, str(place[0]))
        return correction


NOTHING_LEARNT = Expectations()


def learnt(starts: Iterable[PastStart], now: float) -> Expectations:
    """From these, as of now."""
    tallies: dict[_Place, _Tally] = defaultdict(_Tally)
    for start in starts:
        weight, errors = _weight(now - start.at), _errors(start)
        if any(error is not None for error in errors):
            for place in (*_shared_places(start), *([_host(start)] if start.host else [])):
                tallies[place].add(start, errors, weight)
    return Expectations(dict(tallies))


def _shared_places(of: Offer | PastStart) -> Sequence[_Place]:
    """Where it is with others, from the widest to the nearest. A region is one of its cards: they run short there."""
    cloud = (of.provider, of.kind)
    cards = (*cloud, of.gpu, of.gpu_count)
    region = (("in this region", *cards, of.region),) if of.region else ()
    return (("at this cloud", *cloud), ("with these GPUs", *cards), *region)


def _host(of: Offer | PastStart) -> _Place:
    """The machine, where its cloud tells them apart: it has one line, whatever card is in it."""
    return (_HOST, of.provider, of.kind, of.host)


def _errors(start: PastStart) -> tuple[float | None, ...]:
    """How far each of the four was off."""
    return (
        _ratio(start.boot_s, start.expected.boot_s),
        _ratio(start.load_s, start.expected.load_s),
        None if start.came_up is None else start.came_up - start.expected.odds,
        None if start.kept is None else start.kept - SPOT_ODDS,
    )


def _ratio(took_s: float | None, expected_s: float) -> float | None:
    """Whose clock was set back meanwhile, that took no less than no time."""
    return None if took_s is None else min(WORST_RATIO, max(0.0, took_s) / max(LEAST_EXPECTED_S, expected_s)) - 1


def _weight(age_s: float) -> float:
    return math.exp2(-max(0.0, age_s) / HALF_LIFE_S)
