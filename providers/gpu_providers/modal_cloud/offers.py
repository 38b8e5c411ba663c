"""What Modal sells: every card in every number, as one container, at the price of an hour in which it is up.

Whether a card is free now nobody is told: an order that finds none waits, which costs nothing. Modal may stop any
container with a GPU and starts another in its place (modal.com/docs, guide/preemption), so that an endpoint goes on and
no offer is `interruptible`.

The weights lie on a Volume, so that `Search.disk_gib` does not matter: Modal's own example downloads DeepSeek V4 Pro,
which is larger than the 512 GiB of a container's disk, into a Volume from a container that asks for no more disk
(github.com/modal-labs/modal-examples, deepseek_v4.py).
"""

import re
from collections.abc import Mapping, Sequence

from gpu_providers.base import Kind, Offer, Search
from gpu_providers.gpus import GPUS
from gpu_providers.modal_cloud.cards import CARDS, COUNTS, rate_key
from gpu_providers.modal_cloud.options import Options
from gpu_providers.modal_cloud.rates import CPU, MEMORY, Rates
from gpu_providers.regions import is_in

_CORES, _CORES_PER_GPU, _MEMORY_GIB_PER_GPU = 2, 2, 32
"""Priors: vLLM keeps one process busy for each GPU and two more, and reads weights through the page cache. What is used
beyond the request is billed as well (modal.com/docs, guide/resources), so a low request lowers no bill."""

_BROAD_REGIONS = {"us", "eu", "ap", "uk", "ca", "me", "sa", "af", "mx"}
_BROAD, _NARROW = 1.5, 1.75
"""Times the price of a container that may be anywhere; the smaller one where regions of both sizes are named
(modal.com/docs, guide/region-selection)."""


def offers(search: Search, options: Options, rates: Rates) -> list[Offer]:
    """All that these options and this image allow; none of another kind than serverless.

    Of the hints in `search` only the cards are heeded: of what is too small or too dear the planner says so.
    """
    if search.kind not in (None, Kind.SERVERLESS):
        return []
    return [
        _offer(name, count, options, rates, _regions(search, options))
        for name, card in CARDS.items()
        if _is_meant(name, search) and _can_run(name, search) and card.rate_key in rates.usd_per_hour
        for count in COUNTS
        if count <= card.most
    ]


def why_none(search: Search) -> str:
    """What was looked for in vain, in one line."""
    if search.kind not in (None, Kind.SERVERLESS):
        return f"Modal rents out serverless endpoints, no {search.kind}"
    too_new = [name for name in search.cards if name in CARDS and not _can_run(name, search)]
    if too_new:
        least = CARDS[too_new[0]].min_cuda_version
        return f"Modal's {' and '.join(too_new)} needs an image of CUDA {least}, and this is {search.min_cuda_version}"
    return f"Modal has no {' or '.join(search.cards) or 'GPU'}"


def resources_of(options: Options, gpu_count: int) -> tuple[float, float]:
    """Physical cores and GiB of memory of a container, as ordered and as priced."""
    cores = _CORES + _CORES_PER_GPU * gpu_count if options.cpu is None else options.cpu
    memory_gib = _MEMORY_GIB_PER_GPU * gpu_count if options.memory_gib is None else options.memory_gib
    return cores, memory_gib


def hour_price(
    rates: Rates, card: str, count: int, cores: float, memory_gib: float, regions: Sequence[str]
) -> Mapping[str, float]:
    """USD per hour by part, of a container while it is up. Raises KeyError for a card that Modal names no price of."""
    usd = rates.usd_per_hour
    parts = {"gpu": count * usd[rate_key(card)], "cpu": cores * usd[CPU], "memory": memory_gib * usd[MEMORY]}
    if regions:
        parts["region"] = (_multiplier(regions) - 1) * sum(parts.values())
    return {part: round(price, 6) for part, price in parts.items()}


def _multiplier(regions: Sequence[str]) -> float:
    return _NARROW if _BROAD_REGIONS.isdisjoint(regions) else _BROAD


def _regions(search: Search, options: Options) -> tuple[str, ...]:
    """Those of the recipe that are meant, which may cost more than all of them; all where none is."""
    meant = tuple(region for region in options.regions if search.region and is_in(search.region, region))
    return meant or options.regions


def _is_meant(card: str, search: Search) -> bool:
    return not search.cards or card in search.cards


def _can_run(card: str, search: Search) -> bool:
    """Whether the image is new enough for the card. It has the CUDA version that it asks a host's driver for."""
    return not search.min_cuda_version or _version(search.min_cuda_version) >= _version(CARDS[card].min_cuda_version)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _offer(card: str, count: int, options: Options, rates: Rates, regions: Sequence[str]) -> Offer:
    price_parts = hour_price(rates, card, count, *resources_of(options, count), regions)
    return Offer(
        provider="modal",
        kind=Kind.SERVERLESS,
        offer_id=f"modal-{count}x{card}",
        gpu=card,
        gpu_count=count,
        gpu_memory_gib=GPUS[card].memory_gib,
        region=", ".join(regions),
        price_usd_per_hour=round(sum(price_parts.values()), 6),
        price_parts=price_parts,
        prices_as_of=rates.as_of,
        stock_known=False,
    )
