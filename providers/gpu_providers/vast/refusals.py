"""What Vast.ai means by an answer that is no success, as an error of ours.

Its errors are `{"success": false, "error": CODE, "msg": TEXT}` or `{"detail": TEXT}`, under a status that tells little:
a wrong key may be 404 (AIonDemandCluster#1), an ask that is gone 400, 404 or 410. So it is the body that counts. Codes
and texts are those of the OpenAPI document (https://docs.vast.ai/api-reference), of the official package `vastai`
1.9.1, and of answers that clients in public have recorded.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    RateLimited,
)
from gpu_providers.http import Answer
from gpu_providers.values import number, parsed
from gpu_providers.vast.credentials import HINT as SET_THE_KEY

PATIENCE_S = 5.0
"""How long to wait after a 429 that does not say: no two calls of a route need to be further apart but bids."""
TRY_LATER = "try again later"
SET_THE_URL = "set GPU_VAST_API_URL to https://console.vast.ai, or unset it"
_OUR_FAULT = "Vast.ai refuses the request itself: correct the recipe; if it is not to blame, report this as a bug"
_LOG_IN = f"the account demands a second factor of this key: make another at its console, then {SET_THE_KEY}"
_SCOPES = f"the key needs the scopes misc, user_read, instance_read and instance_write: {SET_THE_KEY}"
_MEMBERS = {"success", "error", "msg", "detail"}
_SEARCH_QUOTA = "search_quota_exceeded"
QUOTA_LASTS = timedelta(hours=25)
"""Longer than a day is no reset of a daily quota."""
_LENGTH = 400
_SECRET_LENGTH = 8
"""Masking anything shorter would make a text unreadable and hide no secret."""
_LIKE_A_SECRET = re.compile(r"[\w+/=-]{32,}", re.ASCII)
"""Keys are 64 hexadecimal digits; what an environment holds travels in base64, and may be quoted in part."""


class AskGone(NoCapacity):
    """The ask is rented or withdrawn; its machine may be for rent under another id."""


class SearchQuotaExceeded(QuotaExceeded):
    """The account has had its searches of today."""

    def __init__(self, until: datetime) -> None:
        super().__init__(
            "the daily quota of searches at Vast.ai is used up",
            hint=f"it is reset at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC: use another provider until then",
        )
        self.until = until


class Retired(ProviderUnavailable):
    """A route that Vast.ai no longer answers."""


@dataclass(frozen=True)
class _Meaning:
    error: type[ProviderError]
    hint: str
    says: str = ""
    """What happened, where that is plain; empty to quote Vast.ai."""


_KEY = _Meaning(AuthError, SET_THE_KEY, "Vast.ai does not know the API key")
_PERMISSION = _Meaning(AuthError, _SCOPES)
_FUNDS = _Meaning(InsufficientFunds, "add credit at https://cloud.vast.ai/billing/", "the Vast.ai account lacks credit")
_SPEND_RATE = _Meaning(QuotaExceeded, "a new account may spend only so much: end what runs, or rent what costs less")
_ASK_GONE = _Meaning(AskGone, "another offer may do", "this offer is gone at Vast.ai")
_NOT_STARTED = _Meaning(NoCapacity, "another offer may do")
_GONE = _Meaning(NotFound, "")
_OURS = _Meaning(InvalidRequest, _OUR_FAULT)
_RETIRED = _Meaning(Retired, "upgrade: pip install --upgrade gpu-up")
_LATER = _Meaning(ProviderUnavailable, TRY_LATER)

_BY_TEXT: tuple[tuple[str, _Meaning], ...] = (
    (r"session expired", _Meaning(AuthError, _LOG_IN)),
    (r"\bauth_error\b|invalid user key", _KEY),
    (r"\bnot_authorized\b", _PERMISSION),
    (r"\bdeprecated_endpoint\b", _RETIRED),
    (r"\bno_such_ask\b|no longer available|must be a valid offer id", _ASK_GONE),
    (r"\bspend_rate_limit\b", _SPEND_RATE),
    (r"\binsufficient_credit\b|\black(s|ing)? (of )?credit\b|\binsufficient (credit|funds|balance)\b", _FUNDS),
    (r"offer \d+ is not your own|resources are currently unavailable|\binvalid_price\b", _NOT_STARTED),
    (r"\bserver_error\b|\binvalid_token\b", _LATER),
)
"""The first that is found counts, whatever the status below 500. A price is a bid, and each offer has its own."""

_OF_AN_INSTANCE = "/v0/instances/"
_IS_GONE = re.compile(r"no_such_instance\b|not_found\b|invalid_id\b")
"""Codes of a 404 for one instance: of destroying it (seen, and as specified), and of asking for its log."""

_BY_STATUS = {
    400: _OURS,
    401: _KEY,
    402: _FUNDS,
    403: _PERMISSION,
    405: _OURS,
    410: _RETIRED,
    413: _OURS,
    422: _OURS,
}


def refusal(answer: Answer, now: datetime, secrets: Collection[str] = ()) -> ProviderError:
    """The error that stands for this answer. It is NotFound only on the API's own word, never for any other 404.

    `secrets`, of what was sent, are not repeated, nor is what looks like one.
    """
    if is_search_quota(answer):
        return SearchQuotaExceeded(_reset(answer, now))
    if answer.status == 429:
        return _rate_limit(answer)
    document = document_of(answer)
    if document is None and answer.status != 401:
        return ProviderUnavailable(
            f"{answer.request}: the answer ({answer.status}) is not one of Vast.ai's API",
            hint=TRY_LATER if answer.status >= 500 else SET_THE_URL,
        )
    said = _said(document or {})
    meaning = _meaning(answer, said)
    if meaning.says:
        return meaning.error(meaning.says, hint=meaning.hint)
    quoted = f": {masked(said, secrets)[:_LENGTH]}" if said else ""
    return meaning.error(f"Vast.ai answered {answer.status} to {answer.request.method}{quoted}", hint=meaning.hint)


def is_search_quota(answer: Answer) -> bool:
    """Whether it is a 429 that lasts until the quota is reset."""
    return answer.status == 429 and _SEARCH_QUOTA in answer.text


def document_of(answer: Answer) -> dict[str, Any] | None:
    """The document of Vast.ai's API; None for what anybody between here and there may have answered."""
    try:
        document = parsed(answer.text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and not _MEMBERS.isdisjoint(document) else None


def _meaning(answer: Answer, said: str) -> _Meaning:
    if answer.status >= 500:
        return _LATER
    if answer.status == 404 and _OF_AN_INSTANCE in answer.request.url and _IS_GONE.match(said):
        return _GONE
    found = (meaning for pattern, meaning in _BY_TEXT if re.search(pattern, said, re.IGNORECASE))
    return next(found, _BY_STATUS.get(answer.status, _LATER))


def _said(document: dict[str, Any]) -> str:
    words = (document.get(name) for name in ("error", "msg", "detail"))
    return " ".join(": ".join(word for word in words if isinstance(word, str)).split())


def _rate_limit(answer: Answer) -> RateLimited:
    wait_s = answer.retry_after_s or PATIENCE_S
    return RateLimited(
        f"{answer.request}: Vast.ai asks for patience (429)",
        hint=f"try again in {wait_s:.0f} seconds",
        retry_after_s=wait_s,
    )


def _reset(answer: Answer, now: datetime) -> datetime:
    """As the header says in seconds since 1970; else the next midnight, UTC."""
    until_s = number(answer.headers.get("x-ratelimit-reset"))
    if until_s is not None and 0 < until_s - now.timestamp() <= QUOTA_LASTS.total_seconds():
        return datetime.fromtimestamp(until_s, UTC)
    tomorrow = now.astimezone(UTC) + timedelta(days=1)
    return tomorrow.replace(hour=0, minute=0, second=0, microsecond=0)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """Without these, and without what looks like one: hosts quote what they were told to run."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
        if len(secret) >= _SECRET_LENGTH:
            text = text.replace(secret, "***")
    return _LIKE_A_SECRET.sub("***", text)
