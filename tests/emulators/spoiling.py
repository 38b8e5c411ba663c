"""The answers of a cloud that misbehaves: those instead of the right one, and the right one spoiled."""

import json
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from .misbehaviour import Rule
from .server import Reset, Response

Refuse = Callable[[int, str], Response]
"""Makes an error in the cloud's own form."""

UNKNOWN = "HIBERNATING"
"""The value of `unknown-enum`."""
EDGE_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Access denied</title></head><body><h1>Error 1010</h1>"
    "<p>The owner of this website has banned your access based on your browser's signature.</p></body></html>\n"
)
WEB_PAGE = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body></body></html>\n"


def page(status: int, html: str) -> Response:
    return Response(status, html.encode(), {"Content-Type": "text/html; charset=UTF-8"})


def edge_block() -> Response:
    """What Cloudflare answers to a client that it takes for a bot."""
    return page(403, EDGE_PAGE)


def answer_instead(rule: Rule, refuse: Refuse, stopping: threading.Event) -> Response:
    """The answer of one of misbehaviour.INSTEAD. Raises Reset."""
    return _INSTEAD[rule.do](rule, refuse, stopping)


def _rate_limit(rule: Rule, refuse: Refuse, _: threading.Event) -> Response:
    refusal = refuse(429, "rate limit exceeded for the minute window")
    wait = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    return replace(refusal, headers={**refusal.headers, **wait})


def _server_error(rule: Rule, refuse: Refuse, _: threading.Event) -> Response:
    return refuse(rule.status or 500, "internal server error")


def _timeout(rule: Rule, refuse: Refuse, stopping: threading.Event) -> Response:
    stopping.wait(rule.seconds)
    return refuse(504, "gateway timeout")


def _reset(*_: object) -> Response:
    raise Reset


_INSTEAD: Mapping[str, Callable[[Rule, Refuse, threading.Event], Response]] = {
    "rate-limit": _rate_limit,
    "server-error": _server_error,
    "delete-500-works": _server_error,
    "timeout": _timeout,
    "reset": _reset,
    "html": lambda rule, *_: page(rule.status or 200, WEB_PAGE),
    "edge-block": lambda *_: edge_block(),
}


def spoiled(response: Response, rule: Rule, enum_fields: Collection[str], optional_fields: Collection[str]) -> Response:
    """A JSON answer after one of misbehaviour.SPOILED; others are left alone."""
    if not isinstance(response.body, bytes) or "json" not in response.content_type:
        return response
    if rule.do == "truncated":
        return replace(response, body=response.body[: len(response.body) // 2])
    removed = rule.fields or optional_fields if rule.do == "missing-fields" else ()
    unknown = enum_fields if rule.do == "unknown-enum" else ()
    return replace(response, body=json.dumps(_edited(json.loads(response.body), removed, unknown)).encode())


def _edited(value: Any, removed: Collection[str], unknown: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_edited(item, removed, unknown) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if key not in removed}
    return {key: UNKNOWN if key in unknown else _edited(item, removed, unknown) for key, item in kept.items()}
