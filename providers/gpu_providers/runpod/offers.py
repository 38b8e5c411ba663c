"""What is sold now and where it is in stock: RunPod's catalogue of GPUs as offers of pods and of serverless workers.

The catalogue quotes list prices for one GPU, and quotes them for cards that nobody has left, so only a card with stock
in the very cloud and number that were asked for is an offer (docs.runpod.io, api-reference-v2; its OpenAPI document).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from gpu_providers import gpus
from gpu_providers.base import Kind, Offer, Search, Volume
from gpu_providers.in_parallel import at_once
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.names import COMMUNITY, SECURE, SERVERLESS, OfferId
from gpu_providers.runpod.options import Options, clouds_of, disk_gb, parse_options, regions_of
from gpu_providers.values import Json, number, part, parts, text

SOLD = (Kind.POD, Kind.SERVERLESS)
COUNTS = (1, 2, 4, 8)
"""As tensor parallelism wants them."""
DISK_USD_PER_GB_HOUR = 0.10 * 12 / (365 * 24)
"""A container's disk is 0.10 USD per GB and month while it runs (docs.runpod.io, pods/pricing, serverless/pricing)."""

_ODDS = {SECURE: 0.95, COMMUNITY: 0.85, SERVERLESS: 0.9}
"""Priors; those of pods are the price snapshot's. A serverless worker that finds no host waits for one, for nothing."""
_ODDS_OF_LOW_STOCK = 0.9
"""A prior: `LOW` is often sold out when it is ordered (runpodctl#189). That costs a moment and no money, so it is
enough that such an offer comes after its equals."""
_IN_STOCK = ("LOW", "MEDIUM", "HIGH")
"""Levels of stock, rising. One that nobody knows yet is not counted on."""


@dataclass(frozen=True)
class _Wanted:
    """What is to be offered."""

    shelves: Sequence[str]
    """SECURE, COMMUNITY, SERVERLESS."""
    regions: Sequence[str]
    """The only data centers that will do; empty for any."""
    min_cuda_version: str
    disk_gb: int
    """0 where it is not known yet."""
    now: datetime


@dataclass(frozen=True)
class _Shelf:
    """The catalogue as asked for one cloud, or for serverless, and one number of GPUs."""

    name: str
    """Of its prices, too."""
    count: int
    cards: Sequence[Json]

    @property
    def most(self) -> float:
        """The most GPUs that any card comes with in one machine; RunPod's word for that may be missing."""
        return max((_most(card, self.name) for card in self.cards), default=0)


@dataclass(frozen=True)
class _Stock:
    """Where a card is, and how much of it."""

    level: str
    regions: Sequence[str]


def offers(client: RunPodClient, search: Search, options: Options, volume: Volume | None, now: datetime) -> list[Offer]:
    """One offer for each GPU type, cloud and count that is in stock. `volume` restricts them to where it is.

    An offer of serverless has the price of ONE worker while it is up. Without a `search.kind` these are pods.
    """
    known_disk = search.disk_gib or options.disk_gb
    serverless = search.kind is Kind.SERVERLESS
    wanted = _Wanted(
        shelves=[SERVERLESS] if serverless else clouds_of(options, volume),
        regions=regions_of(options, volume),
        min_cuda_version=search.min_cuda_version,
        disk_gb=disk_gb(options, search.disk_gib) if known_disk else 0,
        now=now,
    )
    found = (_offer(card, shelf, wanted) for shelf in _shelves(client, wanted) for card in shelf.cards)
    return [offer for offer in found if offer]


def why_none(search: Search) -> str:
    """What was looked for in vain, in one line."""
    if search.kind and search.kind not in SOLD:
        return f"RunPod rents out pods and serverless endpoints, no {search.kind}"
    options = parse_options(search.options)
    clouds = (SECURE,) if search.volume else options.clouds
    serverless = search.kind is Kind.SERVERLESS
    limits = (
        "for serverless" if serverless else f"in the {' or '.join(clouds)} cloud",
        f"in {', '.join(options.regions)}" if options.regions else "",
        f"where the volume {search.volume} is" if search.volume else "",
        f"with a driver for CUDA {search.min_cuda_version}" if search.min_cuda_version else "",
    )
    narrow = not (serverless or search.volume or COMMUNITY in clouds)
    more = "; cloud: any in the recipe adds the community cloud" if narrow else ""
    return f"RunPod has no GPU in stock {', '.join(filter(None, limits))}{more}"


def _shelves(client: RunPodClient, wanted: _Wanted) -> Iterator[_Shelf]:
    """All in parallel, but for the counts above 1, which are asked for where any card comes with so many."""

    def ask(shelf: tuple[str, int]) -> _Shelf:
        name, count = shelf
        product, cloud = ("SERVERLESS", None) if name == SERVERLESS else ("POD", name.upper())
        minimum = wanted.min_cuda_version
        return _Shelf(name, count, client.gpus(product=product, count=count, cloud=cloud, min_cuda_version=minimum))

    singles = at_once(ask, [(name, 1) for name in wanted.shelves])
    several = [(single.name, count) for single in singles for count in COUNTS[1:] if count <= single.most]
    yield from singles
    yield from at_once(ask, several)


def _offer(card: Json, shelf: _Shelf, wanted: _Wanted) -> Offer | None:
    """None for a card that cannot be had like this, or that our catalogue lacks."""
    gpu = gpus.canonical(text(card, "id"), number(card.get("memory")))
    gpu_usd = number(part(card, "price").get(shelf.name))
    stock = _stock(card, wanted.regions)
    if not gpu or not stock or not gpu_usd or gpu_usd < 0 or shelf.count > _most(card, shelf.name):
        return None
    serverless = shelf.name == SERVERLESS
    price_parts = {
        "worker" if serverless else "gpu": gpu_usd * shelf.count,
        "disk": wanted.disk_gb * DISK_USD_PER_GB_HOUR,
    }
    return Offer(
        provider="runpod",
        kind=Kind.SERVERLESS if serverless else Kind.POD,
        offer_id=str(OfferId(shelf.name, shelf.count, text(card, "id"))),
        gpu=gpu.name,
        gpu_count=shelf.count,
        gpu_memory_gib=gpu.memory_gib,
        region=", ".join(stock.regions),
        price_usd_per_hour=sum(price_parts.values()),
        price_parts=price_parts,
        prices_as_of=wanted.now,
        boot_odds=_ODDS[shelf.name] * (_ODDS_OF_LOW_STOCK if stock.level == "LOW" else 1.0),
        disk_usd_per_gib_hour=0.0 if wanted.disk_gb else DISK_USD_PER_GB_HOUR * 2**30 / 10**9,
    )


def _stock(card: Json, regions: Sequence[str]) -> _Stock | None:
    """Of a card in the catalogue; None when it is sold out, or where it was asked for."""
    level = _level(card)
    centers = {text(center, "id"): _level(center) for center in parts(card, "dataCenters")}
    stocked = {center: level for center, level in centers.items() if level and (not regions or center in regions)}
    if not level or (regions and not stocked):
        return None
    best = max(stocked.values(), key=_IN_STOCK.index, default=level)
    return _Stock(best, sorted(stocked))


def _level(answer: Json) -> str:
    """Empty for none, and for a level that is not known."""
    level = text(answer, "availability").upper()
    return level if level in _IN_STOCK else ""


def _most(card: Json, shelf: str) -> float:
    """How many of it come in one machine; when RunPod does not say, as ever for serverless, only the stock can tell.

    Serverless asks for a card by its pool: none without.
    """
    if shelf == SERVERLESS and not text(card, "pool"):
        return 0
    most = number(part(card, "maxCount").get(shelf))
    return COUNTS[-1] if most is None else most
