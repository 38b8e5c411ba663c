"""Which offers will do, in which order, and why the others will not."""

from collections.abc import Iterable
from dataclasses import dataclass

from gpu_cli.recipe.schema import Recipe
from gpu_cli.units import format_usd
from gpu_providers.base import Offer
from gpu_providers.gpus import canonical


@dataclass(frozen=True)
class Rejected:
    """An offer that will not do."""

    offer: Offer
    reason: str


@dataclass(frozen=True)
class Plan:
    """Offers that will do, the first to be tried first, and those that will not."""

    candidates: tuple[Offer, ...]
    rejected: tuple[Rejected, ...]


def rank(recipe: Recipe, offers: Iterable[Offer], *, max_price_usd_per_hour: float | None) -> Plan:
    """The cheapest first; at one price a GPU before a CPU. The same offers give the same plan in any order."""
    candidates, rejected = [], []
    for offer in offers:
        reason = why_not(recipe, offer, max_price_usd_per_hour)
        if reason:
            rejected.append(Rejected(offer, reason))
        else:
            candidates.append(offer)
    return Plan(tuple(sorted(candidates, key=_order)), tuple(sorted(rejected, key=lambda out: _order(out.offer))))


def why_not(recipe: Recipe, offer: Offer, max_price_usd_per_hour: float | None) -> str:
    """Why this offer will not do for the recipe; empty when it will."""
    if max_price_usd_per_hour is not None and offer.price_usd_per_hour > max_price_usd_per_hour:
        return (
            f"costs {format_usd(offer.price_usd_per_hour)}/h, over the limit of {format_usd(max_price_usd_per_hour)}/h"
        )
    if offer.gpu_count == 0:
        return "" if recipe.gpu.cpu else "has no GPU, and the recipe does not say that a CPU will do (gpu: cpu: true)"
    if offer.gpu_count != recipe.gpu.count:
        return f"has {offer.gpu_count} GPUs, and the recipe runs on {recipe.gpu.count}"
    if recipe.gpu.names and not any(_same_card(name, offer.gpu) for name in recipe.gpu.names):
        return f"is no {' or '.join(recipe.gpu.names)}"
    needed_gib = recipe.gpu.min_memory_gib
    if needed_gib is not None and offer.gpu_memory_gib < needed_gib:
        return f"has {offer.gpu_memory_gib:.0f} GiB a card, and the recipe needs {needed_gib:.0f}"
    return ""


def _same_card(wanted: str, offered: str) -> bool:
    card = canonical(wanted)
    return (card.name if card else wanted).lower() == offered.lower()


def _order(offer: Offer) -> tuple[float, bool, str, str]:
    return (offer.price_usd_per_hour, offer.gpu_count == 0, offer.provider, offer.offer_id)
