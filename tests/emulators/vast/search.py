"""Searches for offers: what is asked for, and not one row more than 64.

POST /api/v0/bundles/           the query is the body
GET  /api/v0/bundles/?q=        the query as JSON
PUT  /api/v0/search/asks/       {"q": query}

What the sources say, and this does: it needs no key (dstackai/gpuhunt asks without); it filters nothing by itself, not
even the verified (recorded answers); whatever `limit` says, there are 64 rows (seen 2026-09, dstackai/gpuhunt#142);
without `order` the best score comes first (the CLI's default). Told to, it drops filters without a word, as it has been
seen to (skypilot-org/skypilot#9892; vast-ai/vast-sdk#11).
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..server import Request, Response, Route, json_response
from .answers import refused
from .asks import DAY_S, USUAL_STORAGE_GB, Ask, row
from .machines import MACHINES
from .queries import BadQuery, Filters, checked, matches, ordered

if TYPE_CHECKING:
    from .emulator import VastEmulator

MOST_ROWS = 64
TYPES = ("on-demand", "ondemand", "bid", "reserved")
NO_FILTERS = ("type", "order", "limit", "allocated_storage", "disable_bundling")
BY_SCORE = [["score", "desc"]]
COLUMNS = frozenset(row(Ask(0, MACHINES[0], 1), 0.0))


class Search:
    """The routes of searches. Called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/v0/bundles/", lambda request: self._answer(request.json()), call="offers"),
            Route("GET", "/api/v0/bundles/", lambda request: self._answer(_parsed(request.query)), call="offers"),
            Route("PUT", "/api/v0/search/asks/", lambda request: self._answer(_inner(request)), call="offers"),
        ]

    def _answer(self, query: Any) -> Response:
        if rule := self._cloud.misbehaviour.take("search-quota", call="offers"):
            return self._quota_exceeded(rule.seconds)
        if not isinstance(query, dict):
            return refused(400, "invalid_request", "Invalid json body")
        try:
            return json_response({"offers": self._found(query)})
        except BadQuery as error:
            return refused(400, "bad_request", str(error))

    def _quota_exceeded(self, seconds: float) -> Response:
        """It counts from midnight to midnight, UTC (the package vastai 1.9.1, `api/client.py`)."""
        now = self._cloud.clock.now()
        reset = now + seconds if seconds else (now // DAY_S + 1) * DAY_S
        refusal = refused(429, "search_quota_exceeded", "Daily search quota exceeded.")
        return Response(429, refusal.body, {**refusal.headers, "X-RateLimit-Reset": f"{reset:.0f}"})

    def _found(self, query: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        _check(query)
        now, storage_gb = self._cloud.clock.now(), query.get("allocated_storage", USUAL_STORAGE_GB)
        filters = self._kept(checked({name: query[name] for name in query if name not in NO_FILTERS}, COLUMNS))
        rows = [row(ask, now, storage_gb, is_bid=query.get("type") == "bid") for ask in self._cloud.asks]
        found = ordered([one for one in rows if matches(one, filters)], query.get("order", BY_SCORE), COLUMNS)
        return found[: min(MOST_ROWS, query.get("limit", MOST_ROWS))]

    def _kept(self, filters: Filters) -> Filters:
        """Those that are applied."""
        rule = self._cloud.misbehaviour.take("filters-ignored", call="offers")
        ignored = (rule.fields or filters) if rule else ()
        return {name: asked for name, asked in filters.items() if name not in ignored}


def _check(query: Mapping[str, Any]) -> None:
    """All but the filters. Raises BadQuery."""
    limit, order, storage_gb = query.get("limit", 1), query.get("order", []), query.get("allocated_storage", 1)
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise BadQuery("limit: Input should be a valid integer")
    if query.get("type", "bid") not in TYPES:
        raise BadQuery(f"type: Input should be one of {', '.join(TYPES)}")
    if not isinstance(storage_gb, int | float):
        raise BadQuery("allocated_storage: Input should be a valid number")
    if not isinstance(order, list) or not all(isinstance(item, list) and len(item) == 2 for item in order):
        raise BadQuery("order: Input should be a list of pairs")


def _parsed(query: Mapping[str, str]) -> Any:
    try:
        return json.loads(query.get("q", "{}"))
    except ValueError:
        return None


def _inner(request: Request) -> Any:
    body = request.json()
    return body.get("q") if isinstance(body, dict) else None
