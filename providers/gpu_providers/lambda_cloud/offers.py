"""What is for rent at Lambda now: an offer for each instance type and region that has one free, all GPUs in its price.

A region that is listed is no promise: launches have been refused for lack of capacity seconds later. The root disk and
traffic cost nothing (docs.lambda.ai, on-demand billing).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from gpu_providers.base import Kind, Offer, Search
from gpu_providers.lambda_cloud.client import LambdaClient
from gpu_providers.lambda_cloud.filesystems import Filesystems
from gpu_providers.lambda_cloud.firewall import REGIONS_WITHOUT
from gpu_providers.lambda_cloud.names import OfferId, architecture, card_of
from gpu_providers.lambda_cloud.options import Options, parse_options, regions_of
from gpu_providers.values import Json, number, part, parts, text


def offers(client: LambdaClient, search: Search, options: Options, now: datetime) -> list[Offer]:
    """All whose card our catalogue has, whose disk is large enough and whose region will do.

    Nothing is known of a machine's driver until it runs, so `search.min_cuda_version` rules none out.
    """
    if search.kind not in (None, Kind.VM):
        return []
    volume = Filesystems(client).find(search.volume) if search.volume else None
    regions = regions_of(options, volume)
    types = client.instance_types().items()
    found = [offer for name, said in types for offer in _offers(name, said, regions, search.disk_gib, now)]
    return [offer for offer in found if not search.public or offer.region not in REGIONS_WITHOUT]


def why_none(search: Search) -> str:
    """What was looked for in vain, in one line."""
    if search.kind not in (None, Kind.VM):
        return f"Lambda rents out virtual machines, no {search.kind}"
    regions = parse_options(search.options).regions
    limits = (
        f"in {' or '.join(regions)}" if regions else "",
        f"outside {' and '.join(REGIONS_WITHOUT)}, which has no firewall" if search.public else "",
        f"where the filesystem {search.volume} is" if search.volume else "",
        f"with {search.disk_gib} GiB of disk" if search.disk_gib else "",
    )
    return f"Lambda has no GPU free {', '.join(filter(None, limits))}".rstrip()


def _offers(type_name: str, said: Json, regions: Sequence[str], disk_gib: int, now: datetime) -> Iterator[Offer]:
    """Of one instance type, by region; none for one without GPUs or without a price."""
    sold = part(said, "instance_type")
    card, cents_per_hour = card_of(text(sold, "description"), type_name), number(sold.get("price_cents_per_hour"))
    if not card or not cents_per_hour or cents_per_hour < 0 or not _holds(part(sold, "specs"), card[1], disk_gib):
        return
    gpu, count = card
    for region in _free_in(said, regions):
        yield Offer(
            provider="lambda",
            kind=Kind.VM,
            offer_id=str(OfferId(type_name, region)),
            gpu=gpu.name,
            gpu_count=count,
            gpu_memory_gib=gpu.memory_gib,
            region=region,
            price_usd_per_hour=cents_per_hour / 100,
            price_parts={"machine": cents_per_hour / 100},
            prices_as_of=now,
            # Lambda does not tell machines apart, and those of a type in a region tend to be broken alike: of eight
            # H100s that a survey of GPU clouds rented on 2026-08-31, CUDA never came up on seven.
            host=f"{type_name}@{region}",
            architecture=architecture(type_name),
        )


def _holds(specs: Json, gpu_count: int, disk_gib: int) -> bool:
    """Whether what is said of a type agrees with its description, and its disk is large enough; unsaid is no reason."""
    gpus, storage_gib = number(specs.get("gpus")), number(specs.get("storage_gib"))
    return gpus in (None, gpu_count) and (storage_gib is None or storage_gib >= disk_gib)


def _free_in(said: Json, regions: Sequence[str]) -> Iterator[str]:
    """The regions with capacity, of those that will do; empty `regions` for any."""
    for region in dict.fromkeys(text(one, "name") for one in parts(said, "regions_with_capacity_available")):
        if region and (not regions or region in regions):
            yield region
