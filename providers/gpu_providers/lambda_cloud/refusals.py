"""What Lambda means by an answer that is no success, as an error of ours.

Its errors are `{"error": {"code", "message", "suggestion"}}`, and it is the code that counts: the texts may change
(https://docs.lambda.ai/api/cloud). In front of the API stands Cloudflare, which answers with pages of its own.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

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
from gpu_providers.lambda_cloud.credentials import HINT as SET_THE_KEY
from gpu_providers.lambda_cloud.pacing import INTERVALS_S, Turn
from gpu_providers.values import Json, parsed, part, text

PATIENCE_S = 10.0
"""How long to wait after a 429 that does not say; none is documented to say."""
BAN_S = 60.0
TRY_LATER = "try again later"
SET_THE_URL = "set GPU_LAMBDA_API_URL to https://cloud.lambda.ai/api/v1, or unset it"
OUR_FAULT = "Lambda refuses the request itself: correct the recipe; if it is not to blame, report this as a bug"
LAUNCH = "instance-operations/launch"
_BILLING = "verify e-mail address, billing address and means of payment in the account at https://cloud.lambda.ai"
_LENGTH = 400
_SECRET_LENGTH = 8
"""Masking anything shorter would make a text unreadable and hide no secret."""
_LIKE_A_SECRET = re.compile(r"secret_\w+|(?<=token=)\w+|[\w+/=]{40,}", re.ASCII)
"""API keys; the key to an instance's JupyterLab; keys of SSH, which are lines of base64. Ids are shorter."""
_BAN = re.compile(r"banned you temporarily|\b1015\b")
"""Cloudflare's page for who asked too often, and its code for that."""


class Blocked(ProviderUnavailable):
    """Cloudflare let the request not through to the API, which knows nothing of it."""


@dataclass(frozen=True)
class _Meaning:
    error: type[ProviderError]
    hint: str
    says: str = ""
    """What happened, where that is plain; empty to quote Lambda."""


_KEY = _Meaning(AuthError, SET_THE_KEY, "Lambda does not know the API key")
_FORBIDDEN = _Meaning(AuthError, f"the key may not do this: {SET_THE_KEY}")
_ACCOUNT = _Meaning(InsufficientFunds, _BILLING)
_QUOTA = _Meaning(
    QuotaExceeded, "end what runs at Lambda, or have its support raise the quota; that of a new account grows"
)
_NO_STOCK = _Meaning(
    NoCapacity, "another type or region may have some", "Lambda has no capacity left for this type in this region"
)
_GONE = _Meaning(NotFound, "")
_OURS = _Meaning(InvalidRequest, OUR_FAULT)
_NO_ROUTE = _Meaning(ProviderUnavailable, SET_THE_URL)
_IN_USE = _Meaning(ProviderUnavailable, "end what uses it, then try again")
_LATER = _Meaning(ProviderUnavailable, TRY_LATER)

_BY_CODE = {
    "global/invalid-api-key": _KEY,
    "global/account-inactive": _ACCOUNT,
    "global/invalid-address": _ACCOUNT,
    "global/forbidden": _FORBIDDEN,
    "global/quota-exceeded": _QUOTA,
    "global/invalid-parameters": _OURS,
    "global/object-does-not-exist": _GONE,
    "global/not-found": _NO_ROUTE,
    "global/duplicate": _Meaning(InvalidRequest, "choose another name, or use what has this one"),
    "global/conflict": _LATER,
    "global/internal-error": _LATER,
    "global/unknown": _LATER,
    f"{LAUNCH}/insufficient-capacity": _NO_STOCK,
    f"{LAUNCH}/file-system-in-wrong-region": _OURS,
    "filesystems/filesystem-in-use": _IN_USE,
    "firewall-rulesets/firewall-ruleset-in-use": _IN_USE,
}
_UPSTREAM = "provider/"
"""Begins the codes of whoever is behind Lambda."""
_BY_STATUS = {400: _OURS, 401: _KEY, 403: _FORBIDDEN, 413: _OURS, 422: _OURS}
"""For codes that are new."""


def refusal(answer: Answer, secrets: Collection[str] = ()) -> ProviderError:
    """The error that stands for this answer. It is NotFound only on the API's own word, never for any other 404.

    A validator may quote what it refuses: `secrets`, of what was sent, are not repeated.
    """
    error = _error_of(answer)
    if answer.status == 429 or (error is None and answer.status == 403 and _BAN.search(answer.text)):
        return _rate_limit(answer)
    if error is None and answer.status != 401:
        return _of_another(answer)
    meaning = _meaning(answer.status, text(error or {}, "code"))
    if meaning.says:
        return meaning.error(meaning.says, hint=meaning.hint)
    quoted = _masked(_said(error or {}), secrets)[:_LENGTH]
    return meaning.error(f"Lambda answered {answer.status} to {answer.request.method}: {quoted}", hint=meaning.hint)


def patience_s(answer: Answer) -> float:
    """How long to wait after it for the next request of its kind."""
    if answer.retry_after_s or _BAN.search(answer.text):
        return answer.retry_after_s or BAN_S
    return INTERVALS_S[Turn.LAUNCH] if answer.request.url.endswith(LAUNCH) else PATIENCE_S


def _error_of(answer: Answer) -> Json | None:
    """The error of Lambda's API; None for what anybody between here and there may have answered."""
    try:
        document = parsed(answer.text)
    except (ValueError, RecursionError):
        return None
    error = part(document, "error") if isinstance(document, dict) else {}
    return error if text(error, "code") else None


def _meaning(status: int, code: str) -> _Meaning:
    """A server out of order is believed nothing else."""
    if status >= 500 or code.startswith(_UPSTREAM):
        return _LATER
    return _BY_CODE.get(code, _BY_STATUS.get(status, _LATER))


def _said(error: Json) -> str:
    return " ".join(f"{text(error, 'code')}: {text(error, 'message')}".split())


def _masked(said: str, secrets: Collection[str] = ()) -> str:
    """Without these, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
        if len(secret) >= _SECRET_LENGTH:
            said = said.replace(secret, "***")
    return _LIKE_A_SECRET.sub("***", said)


def _of_another(answer: Answer) -> ProviderUnavailable:
    if answer.status == 403:
        return Blocked(
            f"{answer.request}: blocked by Cloudflare before Lambda's API (403)",
            hint="this says nothing of the key: try again later, or from another network",
        )
    return ProviderUnavailable(
        f"{answer.request}: the answer ({answer.status}) is not one of Lambda's API",
        hint=TRY_LATER if answer.status >= 500 else SET_THE_URL,
    )


def _rate_limit(answer: Answer) -> RateLimited:
    wait_s = patience_s(answer)
    return RateLimited(
        f"{answer.request}: Lambda asks for patience ({answer.status})",
        hint=f"try again in {wait_s:.0f} seconds",
        retry_after_s=wait_s,
    )
