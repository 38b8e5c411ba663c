"""What is for rent at Vast.ai now, each at its true price: its GPUs, and the disk that will be asked for.

What its search calls the total leaves out the traffic, and where it has not been told the disk, most of that
(docs.vast.ai, billing).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from gpu_providers.base import Kind, LaunchRequest, Offer, Search
from gpu_providers.errors import NoCapacity
from gpu_providers.values import Json
from gpu_providers.vast.asks import Ask, read_ask
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.names import OfferId, gpu_names
from gpu_providers.vast.options import Options, disk_gb, parse_options
from gpu_providers.vast.pages import search_rows
from gpu_providers.vast.query import Filters, duration_s, filters, query, within
from gpu_providers.vast.search_cache import SearchCache

PAGES = 4
"""Of one search: some five calls are let through at once (the headers of a recorded 429), and a launch is one more."""

_BEST_ODDS = 0.95
"""A prior: that a host comes up which was never down. The odds fall with the fourth power of the time that it was up:
0.84 at 0.97, below which clients tell of hosts that die while they boot."""
_LEAST_ODDS = 0.05
_DEARER = 1.01
"""What an ask may cost of its offer and still be the same."""
_ROUNDING_USD = 1e-9
"""Keeps a bid and its disk, added up, from being a hair above the limit that the bid was cut to."""
_GB_PER_GIB = 2**30 / 10**9


def search_offers(
    client: VastClient, cache: SearchCache, search: Search, options: Options, now: datetime
) -> list[Offer]:
    """All within the bounds of the search and of the recipe; spot ones only with `search.spot`, besides the others."""
    if _why_never(search):
        return []
    bounds = filters(gpu_names(search.cards), search, options)
    markets = (True, False) if search.spot else (False,)
    found: dict[tuple[bool, int], Offer] = {}
    for spot in markets:
        asked = query(bounds, search, options, spot=spot)
        rows, as_of = search_rows(client, cache, asked, pages=PAGES // len(markets), now=now)
        for ask in _asks(rows, bounds, spot=spot):
            if offer := _offer(ask, search, options, as_of, spot=spot):
                found[spot, ask.ask_id] = offer
    return list(found.values())


def fresh(client: VastClient, request: LaunchRequest, options: Options) -> tuple[int, float]:
    """The id that the request's offer has now, and its price an hour: the cheapest ask like it of the same machine.

    Raises NoCapacity when there is none, none for our bid, or none for about the price that was offered.
    """
    offer, was, disk = request.offer, OfferId.parse(request.offer.offer_id), disk_gb(options, request.disk_gib)
    asks = _asks_like(client, request, options, was)
    if not asks:
        raise NoCapacity(f"Vast.ai's machine {was.machine_id} no longer offers {was.gpu_count} x {was.gpu_name}")
    ask = min(asks, key=lambda each: each.usd_per_hour(disk))
    if was.spot:
        ask = _at_bid(ask, offer.price_parts["gpu"])
    told = offer.price_usd_per_hour + offer.disk_usd_per_gib_hour * disk / _GB_PER_GIB
    if ask.usd_per_hour(disk) > told * _DEARER:
        raise NoCapacity(f"its price rose {_rise(told, ask.usd_per_hour(disk))}")
    return ask.ask_id, ask.usd_per_hour(disk)


def why_none(search: Search) -> str:
    """What was looked for in vain, in one line."""
    if why := _why_never(search):
        return why
    options = parse_options(search.options)
    card = search.cards[0] if len(search.cards) == 1 else "GPU that would do"
    host = "in a {}data center" if options.datacenter else "on a {}host"
    where = f" in {' or '.join(options.regions)}" if options.regions else ""
    return (
        f"Vast.ai has no {card} free {host.format('verified ' if options.verified else '')}{where} "
        f"with {_terms(search, options)}; providers: vast: in the recipe can ask for less"
    )


def _why_never(search: Search) -> str:
    """Empty where Vast.ai may have it."""
    if search.kind not in (None, Kind.POD):
        return f"Vast.ai rents out containers, no {search.kind}"
    if search.volume:
        return "Vast.ai has no network volumes: leave vast out of the recipe's cache"
    if not gpu_names(search.cards):
        return f"Vast.ai does not rent out {' or '.join(search.cards)}"
    return ""


def _terms(search: Search, options: Options) -> str:
    lasts_h, limit = duration_s(search, options) / 3600, search.max_price_usd_per_hour
    terms = (
        f"a reliability of {options.reliability:g}",
        f"{options.min_inet_down_mbps:g} Mbit/s down",
        f"{disk_gb(options, search.disk_gib)} GB of disk",
        f"a driver for CUDA {search.min_cuda_version}" if search.min_cuda_version else "",
        f"{lasts_h:.0f} hours left" if lasts_h else "",
        f"a price of ${limit:g}/h or less" if limit is not None else "",
    )
    return ", ".join(filter(None, terms))


def _asks_like(client: VastClient, request: LaunchRequest, options: Options, was: OfferId) -> list[Ask]:
    search = Search(disk_gib=request.disk_gib, min_cuda_version=request.min_cuda_version)
    same = {"machine_id": {"eq": was.machine_id}, "num_gpus": {"eq": was.gpu_count}}
    bounds = {**filters([was.gpu_name], search, options), **same}
    rows = client.search(query(bounds, search, options, spot=was.spot))
    return [ask for ask in _asks(rows, bounds, spot=was.spot) if ask.gpu.name == request.offer.gpu]


def _at_bid(ask: Ask, bid_usd: float) -> Ask:
    """What our bid gets. Raises NoCapacity when it would no longer win."""
    if ask.compute_usd_per_hour > bid_usd:
        raise NoCapacity(f"its lowest bid rose {_rise(bid_usd, ask.compute_usd_per_hour)}")
    return replace(ask, compute_usd_per_hour=bid_usd)


def _asks(rows: Iterable[Json], bounds: Filters, *, spot: bool) -> list[Ask]:
    found = (read_ask(row, spot=spot) for row in rows if within(row, bounds))
    return [ask for ask in found if ask]


def _offer(ask: Ask, search: Search, options: Options, as_of: datetime, *, spot: bool) -> Offer | None:
    """None for what costs more than the limit, for another card of the same name, and where no bid is possible."""
    known_disk = search.disk_gib or options.disk_gb
    disk_usd = ask.disk_usd_per_gb_hour * disk_gb(options, search.disk_gib) if known_disk else 0.0
    compute_usd = _bid_usd(ask, disk_usd, search, options) if spot else ask.compute_usd_per_hour
    limit = search.max_price_usd_per_hour
    if search.cards and ask.gpu.name not in search.cards:
        return None
    if compute_usd is None or (limit is not None and compute_usd + disk_usd > limit):
        return None
    return Offer(
        provider="vast",
        kind=Kind.POD,
        offer_id=str(OfferId(ask.ask_id, ask.gpu_count, ask.gpu_name, ask.machine_id, spot=spot)),
        gpu=ask.gpu.name,
        gpu_count=ask.gpu_count,
        gpu_memory_gib=ask.gpu.memory_gib,
        region=ask.region,
        price_usd_per_hour=compute_usd + disk_usd,
        price_parts={"gpu": compute_usd, "disk": disk_usd},
        prices_as_of=as_of,
        interruptible=spot,
        bandwidth_mb_per_s=ask.inet_down_mbps / 8 if ask.inet_down_mbps else None,
        boot_odds=_boot_odds(ask.reliability),
        disk_usd_per_gib_hour=0.0 if known_disk else ask.disk_usd_per_gb_hour * _GB_PER_GIB,
        traffic_usd_per_gib=ask.traffic_usd_per_gb * _GB_PER_GIB,
        host=str(ask.machine_id),
    )


def _bid_usd(ask: Ask, disk_usd: float, search: Search, options: Options) -> float | None:
    """For the GPUs of the ask; None where the lowest that would win is more than we may bid."""
    limits = [ask.compute_usd_per_hour * options.bid_margin]
    if options.bid_usd_per_hour is not None:
        limits.append(options.bid_usd_per_hour)
    if search.max_price_usd_per_hour is not None:
        limits.append(search.max_price_usd_per_hour - disk_usd - _ROUNDING_USD)
    return min(limits) if min(limits) >= ask.compute_usd_per_hour else None


def _boot_odds(reliability: float | None) -> float | None:
    if reliability is None:
        return None
    return max(_LEAST_ODDS, _BEST_ODDS * min(max(reliability, 0.0), 1.0) ** 4)


def _rise(before_usd: float, now_usd: float) -> str:
    return f"from {_usd(before_usd)} to {_usd(now_usd)}"


def _usd(usd_per_hour: float) -> str:
    return f"${usd_per_hour:.3f}/h"
