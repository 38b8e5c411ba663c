"""Which offers will do, in which order, and why the others will not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpu_cli.planner.configurations import Configuration, Configurations
from gpu_cli.planner.measured import NOTHING_MEASURED, Measured, Measurements
from gpu_cli.planner.offers.expectations import NOTHING_LEARNT, Expectations
from gpu_cli.planner.offers.filters import ANY_OFFER, Filters, why_not
from gpu_cli.planner.offers.nodes import several_nodes
from gpu_cli.planner.offers.objectives import Optimize, why_expected, why_first, why_later
from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_cli.planner.offers.session_price import USUAL_SESSION, Session, SessionPrice, session_price
from gpu_cli.planner.sizing import Sizing, Verdict
from gpu_cli.planner.speed import Speed, usd_per_million_tokens
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Offer
from gpu_providers.gpus import GPUS


class Candidate(NamedTuple):
    """An offer that will do."""

    offer: Offer
    configuration: Configuration | None
    """How the model would be served there; None where nothing is sized: a CPU, or a model of unknown facts."""
    session: SessionPrice
    why: str
    """Why it stands where it stands, in some ten words."""
    weights_gib: float = 0.0
    """What the model takes on disk; 0 where it is not known."""
    measured: Measured | None = None
    """What a benchmark of the same says; None where there is none."""

    @property
    def sizing(self) -> Sizing | None:
        """What its GPUs would hold."""
        return self.configuration.sizing if self.configuration else None

    @property
    def speed(self) -> Speed | None:
        """How fast it would be, as estimated."""
        return self.configuration.speed if self.configuration else None

    @property
    def output_tokens_per_s(self) -> float | None:
        """Of all answers together at the recipe's concurrency: measured, else estimated."""
        return _output_tokens_per_s(self.configuration, self.measured)

    @property
    def usd_per_million_output_tokens(self) -> float | None:
        """At this offer's price, while it is that busy."""
        tokens_per_s = self.output_tokens_per_s
        return usd_per_million_tokens(self.offer.price_usd_per_hour, tokens_per_s) if tokens_per_s else None


class Rejected(NamedTuple):
    """An offer that will not do."""

    offer: Offer
    reason: str


@dataclass(frozen=True)
class Reason:
    """Why some offers will not do."""

    text: str
    offer: Offer
    """The largest of them."""
    offers: int


@dataclass(frozen=True)
class Plan:
    """Offers that will do, the first to be tried first, and those that will not."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    note: str = ""
    """What would help where the model fits on no single node; empty when there is nothing to say."""

    @property
    def offers(self) -> tuple[Offer, ...]:
        """All that were looked at."""
        return (*(candidate.offer for candidate in self.candidates), *(out.offer for out in self.rejected))

    def reasons(self) -> list[Reason]:
        """Each reason of the rejected offers once: the most frequent first, of equals that of the largest offer."""
        by_text: dict[str, list[Offer]] = {}
        for out in self.rejected:
            by_text.setdefault(out.reason, []).append(out.offer)
        found = [Reason(text, max(offers, key=_size_gib), len(offers)) for text, offers in by_text.items()]
        return sorted(found, key=lambda reason: (-reason.offers, -_size_gib(reason.offer)))


def rank(
    recipe: Recipe,
    offers: Iterable[Offer],
    configurations: Configurations | None,
    *,
    filters: Filters = ANY_OFFER,
    session: Session = USUAL_SESSION,
    optimize: Optimize = Optimize.PRICE,
    expectations: Expectations = NOTHING_LEARNT,
    measurements: Measurements = NOTHING_MEASURED,
    facts_missing: str = "",
) -> Plan:
    """Offers on which the model fits come first, then those where it is tight, each by what is optimized.

    Ties are broken by speed, then by price, provider and id: the same offers in any order give the same plan. An offer
    whose price cannot be right comes after all others. Without `configurations` a GPU is taken at the recipe's word,
    if that names cards or their memory; else `facts_missing` is the reason why it will not do.
    """
    aims = _Aims(session, optimize, expectations, configurations.weights_gib if configurations else 0.0)
    entries: list[_Entry] = []
    rejected: list[Rejected] = []
    configured: dict[tuple[str, int, float], tuple[str, Configuration | None]] = {}
    for offer in offers:
        reason, configuration = why_not(recipe, offer, filters), None
        if not reason and offer.gpu_count:
            gpus = (offer.gpu, offer.gpu_count, offer.gpu_memory_gib)
            if gpus not in configured:
                configured[gpus] = _configured(recipe, offer, configurations, facts_missing)
            reason, configuration = configured[gpus]
        if reason:
            rejected.append(Rejected(offer, reason))
        else:
            measured = measurements.find(recipe, offer.gpu, offer.gpu_count, configuration)
            entries.append(_entry(offer, configuration, measured, aims))
    entries.sort(key=_order)
    rejected.sort(key=lambda out: _stable(out.offer))
    note = several_nodes(configurations, [out.offer for out in rejected]) if configurations and not entries else ""
    return Plan(_candidates(entries, aims), tuple(rejected), note)


class _Aims(NamedTuple):
    """What offers are compared by."""

    session: Session
    optimize: Optimize
    expectations: Expectations
    weights_gib: float


class _Entry(NamedTuple):
    """A candidate before its place is known."""

    offer: Offer
    configuration: Configuration | None
    measured: Measured | None
    session: SessionPrice
    value: float
    """Of what is optimized: less is better."""
    doubt: str
    """Why its price cannot be right; empty when it may be."""
    is_tight: bool


def _configured(
    recipe: Recipe, offer: Offer, configurations: Configurations | None, facts_missing: str
) -> tuple[str, Configuration | None]:
    """Why the model cannot be served there, or how it is."""
    if configurations is not None and offer.gpu in GPUS:
        if too_small := configurations.too_small(offer.gpu, offer.gpu_count):
            return too_small, None
        best = configurations.best(offer.gpu, offer.gpu_count, offer.gpu_memory_gib)
        return best.why_not, best
    if not (recipe.gpu.names or recipe.gpu.min_memory_gib):
        return facts_missing or f"is no card that the planner knows ({offer.gpu})", None
    if recipe.gpu.count is None and offer.gpu_count > 1:
        return f"has {offer.gpu_count} GPUs, and too little is known to say how to use them", None
    return "", None


def _output_tokens_per_s(configuration: Configuration | None, measured: Measured | None) -> float | None:
    if measured:
        return measured.output_tokens_per_s
    return configuration.speed.decode_tokens_per_s_total if configuration and configuration.speed else None


def _entry(offer: Offer, configuration: Configuration | None, measured: Measured | None, aims: _Aims) -> _Entry:
    sizing = configuration.sizing if configuration else None
    price = session_price(
        offer,
        aims.session,
        weights_gib=aims.weights_gib,
        enforce_eager=sizing is not None and sizing.settings.enforce_eager,
        expectations=aims.expectations,
    )
    is_tight = sizing is not None and sizing.verdict is Verdict.TIGHT
    value = _value(aims.optimize, offer, _output_tokens_per_s(configuration, measured), price)
    return _Entry(offer, configuration, measured, price, value, why_implausible(offer), is_tight)


def _value(optimize: Optimize, offer: Offer, output_tokens_per_s: float | None, price: SessionPrice) -> float:
    """What is optimized, of this offer; infinite where it is not known."""
    if optimize is Optimize.PRICE:
        return price.cost_usd
    if optimize is Optimize.START:
        return price.start_s
    return usd_per_million_tokens(offer.price_usd_per_hour, output_tokens_per_s) if output_tokens_per_s else math.inf


def _order(entry: _Entry) -> tuple[object, ...]:
    return (
        entry.doubt != "",
        entry.is_tight,
        entry.value,
        entry.session.cost_usd,
        entry.offer.gpu_count == 0,
        -(_output_tokens_per_s(entry.configuration, entry.measured) or 0.0),
        *_stable(entry.offer),
    )


def _size_gib(offer: Offer) -> float:
    return offer.gpu_count * offer.gpu_memory_gib


def _stable(offer: Offer) -> tuple[object, ...]:
    return (offer.price_usd_per_hour, offer.provider, offer.offer_id, offer.gpu, offer.gpu_count, offer.region)


def _candidates(entries: Sequence[_Entry], aims: _Aims) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            entry.offer,
            entry.configuration,
            entry.session,
            _why(entries, position, aims.optimize),
            aims.weights_gib,
            entry.measured,
        )
        for position, entry in enumerate(entries)
    )


def _why(entries: Sequence[_Entry], position: int, optimize: Optimize) -> str:
    entry, first = entries[position], entries[0]
    if entry.doubt:
        return entry.doubt
    tight, learnt = "tight; " if entry.is_tight else "", entry.session.learnt
    seen = why_expected(learnt.starts, learnt.failed, learnt.where)
    if position:
        return tight + why_later(optimize, entry.value, first.value) + seen
    rivals = [other for other in entries[1:2] if not other.doubt and other.is_tight == entry.is_tight]
    which = "that starts" if entry.is_tight else "that fits" if entry.configuration else ""
    return tight + why_first(optimize, entry.value, rivals[0].value if rivals else None, which=which) + seen
