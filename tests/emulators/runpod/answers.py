"""The forms of RunPod's answers: problems, lists in pages, and the headers that tell the quota.

Sources: RunPod's OpenAPI file of API v2 (errors, headers); its docs, "API reference v2, overview"; for pagination,
which is newer than the file, alchemy-run/distilled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from ..server import Request, Response, json_response

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
"""As recorded (war4peace/image-toolbox, 2026-08)."""
LARGEST_PAGE = 1000
POLICY = '"minute";q=180;w=60, "hour";q=7200;w=3600, "day";q=50000;w=86400'
PROBLEM = "application/problem+json"


def problem(status: int, detail: str, errors: Sequence[str] = ()) -> Response:
    """RFC 9457, as API v2 writes it."""
    body: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json_response(body | ({"errors": list(errors)} if errors else {}), status, PROBLEM)


def not_found() -> Response:
    return problem(404, "resource not found")


def no_capacity() -> Response:
    return problem(400, NO_CAPACITY)


def invalid(errors: Sequence[str]) -> Response:
    """The body breaks its schema."""
    return problem(422, "Request validation failed.", errors)


def page(request: Request, name: str, items: Sequence[object], size: int = LARGEST_PAGE) -> Response:
    """`{name: items, "pagination": …}`: as many as asked for and at most `size`, from the cursor on."""
    start = int(request.query.get("cursor") or 0)
    end = start + min(size, int(request.query.get("limit") or size))
    more = end < len(items)
    pagination = {"nextCursor": str(end) if more else None, "hasNextPage": more}
    return json_response({name: list(items[start:end]), "pagination": pagination})


def with_quota(response: Response, used_this_minute: int, second_of_minute: float) -> Response:
    """With the headers that authenticated answers have."""
    left = f'"minute";r={max(0, 180 - used_this_minute)};t={int(60 - second_of_minute)}'
    return replace(response, headers={**response.headers, "RateLimit": left, "RateLimit-Policy": POLICY})


def graphql(data: Mapping[str, Any] | None, *messages: str) -> Response:
    """GraphQL's errors come with status 200."""
    errors = {"errors": [{"message": message} for message in messages]} if messages else {}
    return Response(200, json.dumps({"data": data, **errors}).encode(), {"Content-Type": "application/json"})
