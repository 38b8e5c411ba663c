"""What a serverless worker costs now, and where there is stock: RunPod's catalogue as offers of `Kind.SERVERLESS`."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from gpu_providers.base import Kind, Offer, Search, Volume
from gpu_providers.runpod import names
from gpu_providers.runpod.client import Json, RunPodClient
from gpu_providers.runpod.fields import part, text
from gpu_providers.runpod.offers import COUNTS, DISK_USD_PER_GB_HOUR, stock_of
from gpu_providers.runpod.options import Options, disk_gb, regions_of
from gpu_providers.runpod.parsing import number

_ODDS = 0.9
"""A prior: a worker that finds no host waits for one, and costs nothing while it does."""


def endpoint_offers(
    client: RunPodClient, search: Search, options: Options, volume: Volume | None, now: datetime
) -> list[Offer]:
    """One offer for each GPU type and count whose pool is in stock; the price is that of ONE worker while it is up.

    The catalogue's `price.serverless` is per GPU and hour, and missing where there is no serverless for a card. A
    worker's disk is billed like a pod's (docs.runpod.io, serverless/pricing). `volume` restricts them to where it is.
    """
    regions = regions_of(options, volume)
    known_disk = search.disk_gib or options.disk_gb
    disk_usd = disk_gb(options, search.disk_gib) * DISK_USD_PER_GB_HOUR if known_disk else 0.0
    return [
        Offer(
            provider="runpod",
            kind=Kind.SERVERLESS,
            offer_id=str(names.OfferId(names.SERVERLESS, count, text(card, "id"))),
            gpu=gpu.name,
            gpu_count=count,
            gpu_memory_gib=gpu.memory_gib,
            region=", ".join(stock.regions),
            price_usd_per_hour=usd * count + disk_usd,
            price_parts={"worker": usd * count, "disk": disk_usd},
            prices_as_of=now,
            boot_odds=_ODDS,
            disk_usd_per_gib_hour=0.0 if known_disk else DISK_USD_PER_GB_HOUR * 2**30 / 10**9,
        )
        for count, card in _cards(client, search.min_cuda_version)
        if (gpu := names.gpu_of(text(card, "id"), number(card.get("memory"))))
        and (usd := number(part(card, "price").get("serverless")))
        and text(card, "pool")
        and (stock := stock_of(card, regions))
    ]


def _cards(client: RunPodClient, min_cuda_version: str) -> Iterator[tuple[int, Json]]:
    """Every card of the catalogue, once for each count, with the stock for that."""

    def ask(count: int) -> Sequence[Json]:
        return client.gpus(product="SERVERLESS", count=count, min_cuda_version=min_cuda_version)

    with ThreadPoolExecutor(len(COUNTS)) as threads:
        for count, cards in zip(COUNTS, threads.map(ask, COUNTS), strict=True):
            yield from ((count, card) for card in cards)
