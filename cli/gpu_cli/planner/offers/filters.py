"""Why an offer will not do, before anything is sized: what the user said, and what the recipe says of GPUs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gpu_cli.recipe.schema import Recipe
from gpu_cli.units import format_usd
from gpu_cli.weights.source import Scheme
from gpu_providers.base import Kind, Offer
from gpu_providers.gpus import GPUS, Vendor, canonical
from gpu_providers.regions import is_in

_AMD = {name for name, gpu in GPUS.items() if gpu.vendor is Vendor.AMD}


@dataclass(frozen=True)
class Filters:
    """What the user said of offers, what was seen of hosts, and what the engine needs; None is no matter."""

    max_price_usd_per_hour: float | None = None
    region: str | None = None
    """Words, or beginnings of words, of the region's name: `us`, `eu-ro`, `texas`."""
    spot: bool = False
    """Whether an offer that can be taken back at any time will do."""
    bad_hosts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The machines that did not come up lately: why, by provider and host."""
    architectures: tuple[str, ...] = ()
    """What the engine's image is built for, as in `Offer.architecture`; empty for any."""


ANY_OFFER = Filters()


@dataclass(frozen=True)
class Pick:
    """What the user said of offers where no recipe says it."""

    cards: tuple[str, ...] = ()
    """Any of these; empty is no matter."""
    count: int | None = None
    kind: Kind | None = None
    filters: Filters = ANY_OFFER

    def takes(self, offer: Offer) -> bool:
        """Whether this offer is meant."""
        if self.count not in (None, offer.gpu_count) or other_kind(self.kind, offer) or unwanted(offer, self.filters):
            return False
        return not self.cards or any(same_card(name, offer.gpu) for name in self.cards)


_A_KIND: Mapping[Kind, str] = {
    Kind.POD: "a pod",
    Kind.VM: "a VM",
    Kind.SERVERLESS: "serverless",
    Kind.PROCESS: "a process",
}


def why_not(recipe: Recipe, offer: Offer, filters: Filters) -> str:
    """Why this offer will not do, whether or not the model fits; empty when it may."""
    return (
        other_kind(recipe.kind, offer)
        or unwanted(offer, filters)
        or _elsewhere(recipe, offer, filters)
        or _other_hardware(recipe, offer)
        or _other_processor(recipe, offer, filters)
        or _no_hub_weights(recipe, offer)
    )


def other_kind(wanted: Kind | None, offer: Offer) -> str:
    """Why it is not what is to be rented; empty when it is, or when that is no matter."""
    if wanted in (None, offer.kind):
        return ""
    return f"is {_A_KIND[offer.kind]}, and {_A_KIND[wanted]} was asked for"


def unwanted(offer: Offer, filters: Filters) -> str:
    """Why it is not what the user said; empty when it is."""
    limit, price = filters.max_price_usd_per_hour, offer.price_usd_per_hour
    if limit is not None and price > limit:
        return f"costs {format_usd(price)}/h, over the limit of {format_usd(limit)}/h"
    if filters.region is not None and not is_in(filters.region, offer.region):
        return f"is in {offer.region}, not in {filters.region}" if offer.region else "does not say where it is"
    if offer.interruptible and not filters.spot:
        return "is spot: it can be taken back at any time, and that was not asked for (--spot)"
    return why_avoided(filters.bad_hosts, offer)


def _elsewhere(recipe: Recipe, offer: Offer, filters: Filters) -> str:
    """What runs on the user's own machine is where the user is."""
    if offer.kind is Kind.PROCESS or not recipe.regions or regions_in(filters.region, offer, recipe.regions):
        return ""
    where = f"is in {offer.region}" if offer.region else "does not say where it is"
    return f"{where}, and the recipe keeps to {' or '.join(recipe.regions)}"


def why_avoided(bad_hosts: Mapping[tuple[str, str], str], offer: Offer) -> str:
    """Why its machine is left alone for now; empty when it is not, or cannot be told from others."""
    reason = bad_hosts.get((offer.provider, offer.host)) if offer.host else None
    return "" if reason is None else f"its host did not come up lately: {reason}"


def _other_hardware(recipe: Recipe, offer: Offer) -> str:
    if offer.gpu_count == 0:
        return "" if recipe.gpu.cpu else "has no GPU, and the recipe does not say that a CPU will do (gpu: cpu: true)"
    if offer.gpu in _AMD:
        return "is an AMD card, and gpu has no engine for those"
    if recipe.gpu.count is not None and offer.gpu_count != recipe.gpu.count:
        return f"has {offer.gpu_count} GPUs, and the recipe runs on {recipe.gpu.count}"
    if recipe.gpu.names and not any(same_card(name, offer.gpu) for name in recipe.gpu.names):
        return f"is no {' or '.join(recipe.gpu.names)}"
    needed_gib = recipe.gpu.min_memory_gib
    if needed_gib is not None and offer.gpu_memory_gib < needed_gib:
        return f"has {offer.gpu_memory_gib:.0f} GiB a card, and the recipe needs {needed_gib:.0f}"
    return ""


def _other_processor(recipe: Recipe, offer: Offer, filters: Filters) -> str:
    """What runs on the user's own machine needs no image."""
    if offer.kind is Kind.PROCESS or not filters.architectures or offer.architecture in filters.architectures:
        return ""
    built_for = " and ".join(filters.architectures)
    return f"is {offer.architecture}, and the image of vLLM {recipe.engine.version} is built for {built_for}"


def _no_hub_weights(recipe: Recipe, offer: Offer) -> str:
    if offer.kind is not Kind.SERVERLESS or any(source.scheme is Scheme.HUGGING_FACE for source in recipe.weights):
        return ""
    return "is serverless, whose workers load weights from Hugging Face only, and the recipe names none there"


def regions_in(wanted: str | None, offer: Offer, keeps_to: Sequence[str] = ()) -> tuple[str, ...]:
    """Those of an offer that may be in several regions: meant by `wanted`, and by any of what its recipe keeps to.

    Empty for wherever it can be had, where nothing of both is said.
    """
    said = [words for words in ([wanted] if wanted else [], keeps_to) if words]
    return tuple(
        region
        for region in offer.region.split(", ")
        if said and all(any(is_in(word, region) for word in words) for words in said)
    )


def cards_named(names: Iterable[str]) -> tuple[str, ...]:
    """Every card that is meant by one of these; a name that is no card's of ours stands for itself."""
    meant = ([card for card in GPUS if same_card(name, card)] or [name] for name in names)
    return tuple(dict.fromkeys(card for cards in meant for card in cards))


@lru_cache
def same_card(wanted: str, offered: str) -> bool:
    """Whether this card is meant: a name without its memory or form (`A100`) stands for every card that begins so."""
    card = canonical(wanted)
    if card is not None:
        return card.name.lower() == offered.lower()
    return f"{offered.lower()}-".startswith(f"{wanted.lower()}-")
