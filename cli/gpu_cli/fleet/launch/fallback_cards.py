"""Other cards on which the workers of a serverless endpoint may run, for clouds that choose among several."""

from collections.abc import Sequence

from gpu_cli.planner.rank import Candidate
from gpu_cli.planner.sizing import Verdict
from gpu_cli.units import format_usd
from gpu_providers.base import Kind, Offer, Provider
from gpu_providers.gpus import GPUS

MOST = 3
"""Beyond those nothing that is asked for is nearly as cheap."""


def fallbacks(
    first: Candidate, candidates: Sequence[Candidate], provider: Provider, max_price_usd_per_hour: float | None
) -> tuple[Offer, ...]:
    """What the plan has after `first`, one offer a card, on which the command that was made for `first` will do.

    Only within a price that somebody has named, which the candidates of a plan are: nobody pays more than the first
    offer's price without having said so.
    """
    if not provider.chooses_cards or first.offer.kind is not Kind.SERVERLESS or max_price_usd_per_hour is None:
        return ()
    by_card = {first.offer.gpu: first.offer}
    for other in candidates[candidates.index(first) + 1 :]:
        if _takes_the_same(first, other):
            by_card.setdefault(other.offer.gpu, other.offer)
    return tuple(by_card.values())[1 : MOST + 1]


def dearest_usd_per_hour(first: Offer, instead: Sequence[Offer]) -> float:
    """What an hour may cost, whichever of them is taken."""
    return max(offer.price_usd_per_hour for offer in (first, *instead))


def in_words(first: Offer, instead: Sequence[Offer]) -> str:
    """`may run on H200 at $4.54/h where there is no H100`; empty where there is nothing to choose."""
    if not instead:
        return ""
    cards = " or ".join(f"{offer.gpu} at {format_usd(offer.price_usd_per_hour)}/h" for offer in instead)
    return f"may run on {cards} where there is no {first.gpu}"


def _takes_the_same(first: Candidate, other: Candidate) -> bool:
    """Whether the flags that `first` was sized with will do there."""
    if first.sizing is None or other.sizing is None or other.sizing.verdict is not Verdict.FITS:
        return False
    one, another = first.offer, other.offer
    same = (one.provider, one.kind, one.gpu_count) == (another.provider, another.kind, another.gpu_count)
    # An older card that fits as it is may not have the KV cache that made it fit on the first.
    cache, its_cache = first.sizing.settings.kv_cache_dtype, other.sizing.settings.kv_cache_dtype
    has_cache = cache in ("auto", its_cache) or _capability(another) >= _capability(one)
    return same and has_cache and another.gpu_memory_gib >= one.gpu_memory_gib


def _capability(offer: Offer) -> tuple[int, int]:
    return GPUS[offer.gpu].compute_capability or (0, 0)
