"""The price of a session: what is paid from the order to the end, not what an hour costs.

    price of an hour x (billed part of the start + use + idle tail) + disk + traffic, all divided by the odds

How long a start takes and how often one works is what the cloud's terms say, corrected by what was learnt from starts
of our own. Dividing by the odds is the expected price of trying until one works: a failed try is taken to cost as much
as a good one, which is on the safe side.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gpu_cli.planner.offers.cloud_terms import SPOT_ODDS, CloudTerms, odds_of, terms_of
from gpu_cli.planner.offers.expectations import NOTHING_LEARNT, Correction, Expectations, Expected, corrected_odds
from gpu_providers.base import Offer

DEFAULT_USE_S = 3600.0
"""Nobody knows beforehand, and the order of the offers hardly depends on it beyond half an hour."""

ENGINE_START_S = 90.0
"""Of vLLM after its weights are loaded: imports, compilation, capture of graphs. A prior, not measured on a GPU."""
EAGER_ENGINE_START_S = 35.0
"""The same with `--enforce-eager`: neither compilation nor capture."""
LOAD_GIB_PER_S = 1.5
"""From local disk into GPU memory; a prior."""
_ENGINE_DISK_GIB = 30.0
"""Of the engine's image, unpacked, with its caches; a prior."""
_BYTES_PER_GIB, _BYTES_PER_MB = 2**30, 10**6


@dataclass(frozen=True)
class Session:
    """What is expected of a session."""

    use_s: float = DEFAULT_USE_S
    idle_s: float = 900.0
    """Without work before it is ended."""


USUAL_SESSION = Session()


class SessionPrice(NamedTuple):
    """What to expect of a session on one offer."""

    start_s: float
    """From the order until it answers."""
    cost_usd: float
    traffic_usd: float
    """Of that, what one start pays for downloading image and weights, whatever becomes of it."""
    odds: float
    """That it gets to its end: it comes up, works and, when it is spot, is not taken away."""
    by_terms: Expected
    """What would be expected of its start if nothing had been learnt."""
    learnt: Correction
    """By how much that was wrong before."""


def session_price(
    offer: Offer,
    session: Session,
    *,
    weights_gib: float = 0.0,
    enforce_eager: bool = False,
    expectations: Expectations = NOTHING_LEARNT,
) -> SessionPrice:
    """`weights_gib` is what the model takes on disk; 0 where it is not known, for all offers alike."""
    terms, learnt = terms_of(offer), expectations.at(offer)
    by_terms = _by_terms(offer, terms, weights_gib, EAGER_ENGINE_START_S if enforce_eager else ENGINE_START_S)
    expected = learnt.of(by_terms)
    start_s = expected.boot_s + expected.load_s
    whole_s = start_s + session.use_s + session.idle_s
    odds = expected.odds * (corrected_odds(SPOT_ODDS, learnt.kept) if offer.interruptible else 1)
    traffic_usd = offer.traffic_usd_per_gib * (terms.image_gib + weights_gib)
    cost_usd = (
        offer.price_usd_per_hour * _stepped(whole_s - expected.free_s, terms.billing_step_s) / 3600
        + disk_usd_per_hour(offer, weights_gib) * whole_s / 3600
        + traffic_usd
    )
    return SessionPrice(start_s, cost_usd / odds, traffic_usd, odds, by_terms, learnt)


def disk_usd_per_hour(offer: Offer, weights_gib: float) -> float:
    """For what engine and model take of disk beyond what the offer's price includes."""
    return offer.disk_usd_per_gib_hour * (_ENGINE_DISK_GIB + weights_gib)


def _by_terms(offer: Offer, terms: CloudTerms, weights_gib: float, engine_s: float) -> Expected:
    gib_per_s = (offer.bandwidth_mb_per_s or terms.download_mb_per_s) * _BYTES_PER_MB / _BYTES_PER_GIB
    machine_s = terms.boot_s if offer.gpu_count < 2 else terms.boot_s_several
    image_s = terms.image_gib / gib_per_s
    load_s = weights_gib / gib_per_s + weights_gib / LOAD_GIB_PER_S + engine_s
    free_s = (0.0 if terms.boot_is_billed else machine_s) + (0.0 if terms.image_is_billed else image_s)
    return Expected(machine_s + image_s, load_s, odds_of(offer, terms), free_s)


def _stepped(seconds: float, step_s: float) -> float:
    return math.ceil(seconds / step_s) * step_s
