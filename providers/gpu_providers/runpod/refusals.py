"""What RunPod means by an answer that is no success, as an error of ours.

Errors of the API are problem documents (RFC 9457) with `title`, `status`, `detail` and sometimes `errors`
(https://docs.runpod.io/api-reference-v2/overview). One status stands for several things, so 400, 402 and 403 are
told apart by what they say; the texts are those that clients in public have recorded.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gpu_providers.errors import (
    AuthError,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
)
from gpu_providers.http import Answer
from gpu_providers.runpod.credentials import HINT as SET_THE_KEY
from gpu_providers.values import parsed

ADD_CREDIT = "add credit at https://www.runpod.io/console/user/billing"
SET_THE_URL = "set GPU_RUNPOD_API_URL to that of the API v2, https://api.runpod.io/v2, or unset it"
OUR_FAULT = "RunPod refuses the request itself: correct the recipe; if it is not to blame, report this as a bug"
TRY_LATER = "try again later"
_MEMBERS = {"title", "detail", "errors", "error"}
_MISSING = "missing property"
_ERRORS = 3
_LENGTH = 400
_SECRET_LENGTH = 8
"""Masking anything shorter would make a text unreadable and hide no secret."""


class Conflict(ProviderUnavailable):
    """It cannot be done in the present state of the thing: read that again."""


class Unprocessable(InvalidRequest):
    """The request is not of the form that the API takes. Nothing was made, so another form may be tried."""


@dataclass(frozen=True)
class _Meaning:
    error: type[ProviderError]
    hint: str


_FUNDS = _Meaning(InsufficientFunds, ADD_CREDIT)
_QUOTA = _Meaning(QuotaExceeded, "raise the limit of the account at RunPod, or end what runs there")
_NO_STOCK = _Meaning(NoCapacity, "another GPU type, region or cloud may have stock")
_GONE = _Meaning(NotFound, "")
_COLD = _Meaning(ProviderUnavailable, "no worker is up yet: try again in a minute")
_OURS = _Meaning(InvalidRequest, OUR_FAULT)
_LATER = _Meaning(ProviderUnavailable, TRY_LATER)

_BY_TEXT: tuple[tuple[str, _Meaning], ...] = (
    (r"spend(ing)? limit|quota|max(imum)? (number of )?workers", _QUOTA),
    (r"\bbalance\b|\bfunds\b|\bcredits?\b", _FUNDS),
    (r"no longer any instances available|no instances currently available|insufficient resources", _NO_STOCK),
    (r"does not have the resources to deploy|not enough free gpus|could not find any pods with required", _NO_STOCK),
    (r"cluster creation failed", _NO_STOCK),
    (r"pod not found to terminate|delete nonexistent network volume|cluster not found", _GONE),
    (r"no workers available|timed out waiting for worker", _COLD),
    (r"something went wrong|please try again", _LATER),
)
"""The first that is found counts: a text on capacity ends with a plea to try again, too."""

_BY_STATUS = {
    400: _OURS,
    401: _Meaning(AuthError, SET_THE_KEY),
    402: _FUNDS,
    403: _Meaning(AuthError, f"the key lacks the permission: {SET_THE_KEY}"),
    404: _GONE,
    405: _OURS,
    409: _Meaning(Conflict, "look at its state, then try again"),
    413: _OURS,
    422: _Meaning(Unprocessable, OUR_FAULT),
}
_SAYS_MORE = (400, 402, 403)
_NEEDS_NO_BODY = (401, 402, 413)
"""Mean the same whoever says it: the API, or what stands before it."""

_EDGE_BLOCK = re.compile(r"\b1010\b")
"""Cloudflare's code for a client whose User-Agent it does not let in."""


def refusal(answer: Answer, secrets: Collection[str] = ()) -> ProviderError:
    """The error that stands for this answer. It is NotFound only on the API's own word, never for an empty 404.

    A validator may quote what it refuses: `secrets`, of what was sent, are not repeated.
    """
    problem = _problem(answer)
    if answer.status == 403 and (problem is None or _EDGE_BLOCK.search(answer.text)):
        return ProviderUnavailable(
            f"{answer.request}: blocked by the edge before RunPod's API (403)",
            hint="this says nothing of the key: try again later, or from another network",
        )
    if answer.status == 410 or (problem and _is_of_v1(problem)):
        return ProviderUnavailable(
            f"{answer.request}: the answer ({answer.status}) is that of RunPod's API v1, which is retired"
            f"{_quotation(problem or {}, secrets)}",
            hint=SET_THE_URL,
        )
    if problem is None and answer.status not in _NEEDS_NO_BODY:
        return ProviderUnavailable(
            f"{answer.request}: the answer ({answer.status}) is not one of RunPod's API",
            hint=TRY_LATER if answer.status >= 500 else SET_THE_URL,
        )
    said = _quotation(problem or {}, secrets)
    meaning = _meaning(answer.status, said)
    if meaning is _GONE and _is_about_another_status(answer, problem or {}):
        meaning = _LATER
    if meaning is _NO_STOCK:  # its own words ask to refresh a page, and come with every offer that is tried
        return NoCapacity("RunPod is out of stock for this", hint=meaning.hint)
    return meaning.error(f"RunPod answered {answer.status} to {answer.request.method}{said}", hint=meaning.hint)


def _meaning(status: int, said: str) -> _Meaning:
    if status in _SAYS_MORE:
        for pattern, meaning in _BY_TEXT:
            if re.search(pattern, said, re.IGNORECASE):
                return meaning
    return _BY_STATUS.get(status, _LATER)


def _problem(answer: Answer) -> dict[str, Any] | None:
    """The document of an API of RunPod; None for what anybody between here and there may have answered."""
    try:
        document = parsed(answer.text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and not _MEMBERS.isdisjoint(document) else None


def _is_of_v1(problem: dict[str, Any]) -> bool:
    """`{"error": "…", "status": 500}`."""
    return _MEMBERS & problem.keys() == {"error"}


def _is_about_another_status(answer: Answer, problem: dict[str, Any]) -> bool:
    """Such a document was not written for this answer."""
    status = problem.get("status")
    return isinstance(status, int) and status != answer.status


def _quotation(problem: dict[str, Any], secrets: Collection[str]) -> str:
    said = problem.get("detail") or problem.get("title") or problem.get("error") or ""
    errors = problem.get("errors")
    # One missing field makes the validator call all others unknown, so that line tells what is wrong.
    found = sorted(map(str, errors if isinstance(errors, list) else []), key=lambda line: _MISSING not in line)
    text = " ".join(_masked("; ".join([*found[:_ERRORS], str(said)]), secrets).split())
    return f": {text[:_LENGTH]}" if text else ""


def _masked(text: str, secrets: Collection[str]) -> str:
    """The longest first: one may be part of another. Each also as it looks quoted."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_LENGTH:
            text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
    return text
