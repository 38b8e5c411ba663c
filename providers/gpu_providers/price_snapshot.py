"""What the clouds asked on known days: for plans without credentials, which can be read and not launched.

`data/price_snapshot.json` holds groups of prices that share a cloud, a day and a source; `usd_per_hour` is by card and
number of cards, for all of them together. Modal asks everybody the same, so that its offers are what it would sell.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from gpu_providers.base import Kind, Offer, Search
from gpu_providers.gpus import GPUS
from gpu_providers.modal_cloud.offers import offers as modal_offers
from gpu_providers.modal_cloud.options import Options
from gpu_providers.modal_cloud.rates import LISTED

SNAPSHOT_DATE = date(2026, 10, 29)
"""Of its newest price; every offer carries the day of its own."""


@cache
def snapshot_offers() -> tuple[Offer, ...]:
    """All of them, each with the day of its own price."""
    listed = [offer for group in _groups() for offer in _offers(group)]
    return (*listed, *modal_offers(Search(), Options(), LISTED))


def _groups() -> list[Mapping[str, Any]]:
    text = (files("gpu_providers") / "data" / "price_snapshot.json").read_text(encoding="utf-8")
    groups: list[Mapping[str, Any]] = json.loads(text)["groups"]
    return groups


def _offers(group: Mapping[str, Any]) -> Iterator[Offer]:
    for gpu, prices in group["usd_per_hour"].items():
        for count, usd_per_hour in prices.items():
            yield Offer(
                provider=group["provider"],
                kind=Kind(group["kind"]),
                offer_id=f"{group['provider']}-{group['tier']}-{count}x{gpu}",
                gpu=gpu,
                gpu_count=int(count),
                gpu_memory_gib=GPUS[gpu].memory_gib,
                region="",
                price_usd_per_hour=usd_per_hour,
                price_parts={"gpu": usd_per_hour},
                prices_as_of=datetime.fromisoformat(group["as_of"]).replace(tzinfo=UTC),
                interruptible=group.get("interruptible", False),
                boot_odds=group.get("boot_odds"),
                disk_usd_per_gib_hour=group.get("disk_usd_per_gib_hour", 0.0),
                traffic_usd_per_gib=group.get("traffic_usd_per_gib", 0.0),
            )
