"""What a provider may make of a spoiled answer: a documented error, or what a sound answer would give.

Never a wrong "gone". What counts as a cloud's own word for that is written down here once more, apart from the product,
as the sheets of facts have it:

    runpod   a 404 with a problem document, or a pod that is TERMINATED; a whole list without it
    vast     no such instance by its own route AND by the list; a whole list without it
    lambda   a 404 of the code object-does-not-exist, or a status of terminating, terminated or preempted; a whole list
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
from answers import Exchange, Replay
from answers_recorded import Recording
from mutations import Answer

from gpu_providers.base import Boot, Check, Offer, Resource, ResourceState, Secret, Volume
from gpu_providers.errors import CreateUnknown, NotFound, ProviderError, RateLimited
from gpu_providers.offer_document import offers_document, offers_from_document

LISTS = {
    "runpod": {"/v2/pods": "pods", "/v2/serverless": "endpoints"},
    "vast": {"/api/v1/instances/": "instances"},
    "lambda": {"/api/v1/instances": "data"},
}
CREATES = ("/v2/pods", "/v2/serverless", "/api/v0/asks/", "/api/v1/instance-operations/launch")
ENDING = ("terminating", "terminated", "preempted")


def problem(recording: Recording, replay: Replay, outcome: object) -> str:
    """What is wrong with it, in a line; empty for nothing. `outcome` is what the call gave, or raised."""
    if replay.crashes:
        return f"a thread ended with {replay.crashes[0]!r}"
    if isinstance(outcome, BaseException):
        return _wrong_error(outcome) or _wrong_end(recording, replay, outcome)
    return _wrong_type(outcome) or _wrong_end(recording, replay, outcome)


# Errors and values.


def _wrong_error(error: BaseException) -> str:
    if not isinstance(error, ProviderError):
        return f"raised {error!r}"
    if isinstance(error, RateLimited) and not 0 <= error.retry_after_s < 1e7:
        return f"asks to wait for {error.retry_after_s} s"
    return next((f"says {text!r}" for text in (error.message, error.hint) if not _is_a_line(text)), "")


def _is_a_line(text: object) -> bool:
    return isinstance(text, str) and "\n" not in text and _can_be_written(text)


def _can_be_written(text: str) -> bool:
    """A record and a terminal take it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _wrong_type(value: object) -> str:
    """Of anything that a provider gives."""
    for name, holds in _rules(value):
        if not holds:
            return f"{name} is wrong in {value!r}"[:500]
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if inside and isinstance(next(iter(inside)), Offer):
        return _wrong_offers(list(inside))
    return next((wrong for one in inside if (wrong := _wrong_type(one))), "")


def _wrong_offers(offers: Sequence[Offer]) -> str:
    try:
        read = offers_from_document(offers_document(offers))
    except (ValueError, TypeError, AttributeError) as error:
        return f"an offer is none: {error}"
    if any(not math.isclose(sum(one.price_parts.values()), one.price_usd_per_hour, abs_tol=1e-9) for one in read):
        return "the parts of a price do not add up to it"
    texts = (text for one in offers for text in (one.offer_id, one.region, one.host, one.gpu))
    return "" if all(map(_can_be_written, texts)) else "an offer cannot be written down"


def _rules(value: object) -> Iterator[tuple[str, bool]]:
    if isinstance(value, Resource):
        yield from _rules_of_a_resource(value)
    elif isinstance(value, Boot):
        yield "uptime_s", value.uptime_s is None or _is_amount(value.uptime_s)
        yield "price_usd_per_hour", value.price_usd_per_hour is None or _is_amount(value.price_usd_per_hour)
        yield "text", all(map(_is_text, (value.detail, value.endpoint, value.note)))
        yield "running", isinstance(value.running, bool)
    elif isinstance(value, Volume):
        yield "size_gb", isinstance(value.size_gb, int) and value.size_gb >= 0
        yield "price_usd_per_month", value.price_usd_per_month is None or _is_amount(value.price_usd_per_month)
        yield "text", all(map(_is_text, (value.volume_id, value.name, value.region))) and bool(value.volume_id)
    elif isinstance(value, Check):
        yield "text", all(map(_is_text, (value.subject, value.message, value.hint)))
    elif isinstance(value, float):
        yield "number", math.isfinite(value)
    elif not isinstance(value, Offer):
        yield "type", isinstance(value, str | Secret | Mapping | list | tuple | set | frozenset | type(None))
        yield "text", not isinstance(value, str) or _can_be_written(value)


def _rules_of_a_resource(one: Resource) -> Iterator[tuple[str, bool]]:
    amounts = (one.price_usd_per_hour, one.full_price)
    yield "resource_id", _is_text(one.resource_id) and bool(one.resource_id)
    yield "name", _is_text(one.name)
    yield "state", isinstance(one.state, ResourceState)
    yield "endpoint", _is_url_or_none(one.endpoint)
    yield "price_usd_per_hour", all(map(_is_amount, amounts))
    yield "created_at", isinstance(one.created_at, datetime) and one.created_at.tzinfo is not None
    yield "labels", all(_is_text(each) for pair in one.labels.items() for each in pair)
    yield "text", _is_text(one.detail) and _is_text(one.region)
    yield "most_workers", isinstance(one.most_workers, int) and one.most_workers >= 1
    yield "native_idle_s", one.native_idle_s is None or _is_amount(one.native_idle_s)


def _is_url_or_none(value: str) -> bool:
    try:
        return not value or (value.startswith("http") and bool(httpx.URL(value).host))
    except httpx.InvalidURL:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _can_be_written(value)


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


# What exists and what does not.


def _wrong_end(recording: Recording, replay: Replay, outcome: object) -> str:
    if recording.makes:
        return _wrong_launch(replay, outcome)
    if recording.call.startswith(("terminate", "delete")):
        return _wrong_success(recording.cloud, replay, outcome)
    resource = recording.resource
    if resource is None or not _is_lost(resource, recording.call, outcome):
        return ""
    by_name = recording.call.startswith(("find", "list"))
    said = says_gone(recording.cloud, resource, replay.given, by_name=by_name)
    return "" if said else f"{outcome!r}: it is gone on nobody's word"


def _is_lost(resource: Resource, call: str, outcome: object) -> bool:
    """Whether this outcome means that it does not exist."""
    if call.startswith("find"):
        return outcome is None
    if call.startswith("list") and isinstance(outcome, list):
        return not any(resource.resource_id == one.resource_id or resource.name == one.name for one in outcome)
    return isinstance(outcome, NotFound)


def _wrong_launch(replay: Replay, outcome: object) -> str:
    """What was made must be known, or be looked for."""
    made = [
        answer.status
        for exchange, answer in replay.given
        if exchange.method in ("POST", "PUT") and exchange.path.startswith(CREATES) and exchange.answer.status < 300
    ]
    unclear = made and (made[-1] < 300 or made[-1] >= 500)
    if unclear and not isinstance(outcome, Resource | CreateUnknown):
        return f"it was made, and {outcome!r} says that it was not"
    return ""


def _wrong_success(cloud: str, replay: Replay, outcome: object) -> str:
    if isinstance(outcome, BaseException):
        return "" if not isinstance(outcome, NotFound) else "what is gone already is success"
    exchange, answer = replay.given[-1]
    accepted = answer.status < 300 or _is_gone_by(cloud, answer)
    return "" if accepted else f"success on an answer of {answer.status} to {exchange.method}"


Given = Sequence[tuple[Exchange, Answer]]


def says_gone(cloud: str, resource: Resource, given: Given, *, by_name: bool) -> bool:
    """Whether these answers, as they arrived, are the cloud's word for it; `by_name`: it was looked for in lists."""
    own_id = resource.resource_id.rpartition("/")[2]
    own = [answer for exchange, answer in given if own_id in exchange.path]
    listed = [(exchange, answer) for exchange, answer in given if _is_list(cloud, exchange, resource)]
    by_route = any(_is_gone_by(cloud, answer, own_id) for answer in own)
    by_list = any(_lacks(LISTS[cloud][one.path], answer, own_id, resource.name) for one, answer in listed)
    if cloud == "vast":
        return by_list and (by_route or by_name)
    return by_route or by_list


def _is_list(cloud: str, exchange: Exchange, resource: Resource) -> bool:
    name = LISTS[cloud].get(exchange.path)
    is_endpoint = "/" in resource.resource_id
    return exchange.method == "GET" and name is not None and (cloud != "runpod" or (name == "endpoints") == is_endpoint)


def _is_gone_by(cloud: str, answer: Answer, own_id: str = "") -> bool:
    said = answer.json()
    if not isinstance(said, dict):
        return False
    if cloud == "runpod":
        is_problem = any(name in said for name in ("title", "detail", "errors"))
        is_dead = answer.status < 300 and said.get("status") == "TERMINATED" and said.get("id") == own_id
        status = said.get("status")
        return is_dead or (answer.status == 404 and is_problem and (status == 404 or not isinstance(status, int)))
    if cloud == "vast":
        is_null = answer.status < 300 and said.get("instances", "") in (None, []) and said.get("success", True) is True
        return is_null or (
            answer.status == 404 and said.get("error") in ("no_such_instance", "not_found", "invalid_id")
        )
    error, data = said.get("error"), said.get("data")
    if answer.status < 300:
        return isinstance(data, dict) and data.get("status") in ENDING and data.get("id") == own_id
    return isinstance(error, dict) and error.get("code") == "global/object-does-not-exist"


def _lacks(name: str, answer: Answer, own_id: str, own_name: str) -> bool:
    """Whether it is a whole list, in which nothing can be this."""
    said = answer.json()
    if answer.status >= 300 or (isinstance(said, dict) and not said.get("success", True)):
        return False
    rows = said.get(name, "") if isinstance(said, dict) else said
    if rows is None:
        return name in ("pods", "endpoints")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    return not any(_may_be(row, own_id, own_name) for row in rows)


def _may_be(row: Mapping[str, Any], own_id: str, own_name: str) -> bool:
    """It has the id, and nothing in it says in so many words that it is another, or gone."""
    if str(row.get("id")) != own_id or row.get("status") in ("TERMINATED", *ENDING):
        return False
    names = [row.get("name"), row.get("label"), *_marks(row)]
    return all(name == own_name for name in names if isinstance(name, str) and name)


def _marks(row: Mapping[str, Any]) -> Sequence[object]:
    """What shows in it that it is ours; an object without our marks is somebody else's."""
    if isinstance(env := row.get("env"), dict):
        return [env.get("GPU_RESOURCE", "somebody's")]
    for name in ("tags", "extra_env"):
        if shown := row.get(name):
            if not isinstance(shown, list) or not all(isinstance(one, dict | list) for one in shown):
                return []
            keys = [one.get("key") if isinstance(one, dict) else one[0] if one else None for one in shown]
            ours = any(not isinstance(key, str) or key.startswith(("gpu-cli", "GPU_LABELS_")) for key in keys)
            return [] if ours else ["somebody's"]
    return []
