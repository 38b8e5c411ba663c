"""Reading an answer of the search to its end: page by page, and not twice within a minute."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gpu_providers.errors import ProviderError
from gpu_providers.values import Json, number
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.query import PAGE_ROWS
from gpu_providers.vast.refusals import SearchQuotaExceeded
from gpu_providers.vast.search_cache import SearchCache


def search_rows(
    client: VastClient, cache: SearchCache, query: Mapping[str, Any], *, pages: int, now: datetime
) -> tuple[Sequence[Json], datetime]:
    """The cheapest rows, and when Vast.ai gave them; those on the border of two pages are there twice.

    When it gives a page and refuses the next, these are the pages that it gave. Raises SearchQuotaExceeded without
    asking while it is known to be.
    """
    if known := cache.get(query):
        return known
    if until := cache.quota_until():
        raise SearchQuotaExceeded(until)
    rows: list[Json] = []
    try:
        for page in _pages(client, query, pages):
            rows += page
    except ProviderError as error:
        if isinstance(error, SearchQuotaExceeded):
            cache.remember_quota(error.until)
        if not rows:
            raise
    cache.put(query, rows, now)
    return rows, now


def _pages(client: VastClient, query: Mapping[str, Any], pages: int) -> Iterator[list[Json]]:
    """There is no cursor: each page begins at the price at which the one before ended.

    More than a page of one price cannot be told apart, so what follows such a page is what costs more.
    """
    floor: dict[str, float] = {}
    for _ in range(pages):
        page = client.search(_from(query, floor))
        yield page
        prices = [price for row in page if (price := number(row.get("dph_total"))) is not None]
        if len(page) < PAGE_ROWS or not prices:
            return
        floor = {"gte" if min(prices) < max(prices) else "gt": max(prices)}


def _from(query: Mapping[str, Any], floor: Mapping[str, float]) -> Mapping[str, Any]:
    return {**query, "dph_total": {**query.get("dph_total", {}), **floor}} if floor else query
