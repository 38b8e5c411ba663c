"""What an error of Modal's client means, as an error of ours.

The client turns each status of gRPC into a class of modal.exception (modal/_grpc_client.py, 1.6.4). These are told
apart by their names, so that nothing is imported here. For the rest it is the text that says it, and that may change.
"""

import re
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
from gpu_providers.modal_cloud.credentials import HINT as SET_THE_TOKEN

TRY_LATER = "try again later"
OUR_FAULT = "Modal refuses the request itself: correct the recipe; if it is not to blame, report this as a bug"
_LENGTH = 400
_LIKE_A_SECRET = re.compile(r"\b(as-|ws-|ov-|hf_)[A-Za-z0-9]{12,}")
"""Of tokens, of proxy tokens, of OAuth's clients, of Hugging Face."""


@dataclass(frozen=True)
class _Meaning:
    error: type[ProviderError]
    hint: str


_TOKEN = _Meaning(AuthError, SET_THE_TOKEN)
_FORBIDDEN = _Meaning(AuthError, f"the token may not do this: {SET_THE_TOKEN}")
_FUNDS = _Meaning(InsufficientFunds, "raise the budget or the spend limit at https://modal.com/settings/usage")
_QUOTA = _Meaning(
    QuotaExceeded, "end what runs at Modal, or have its plan allow more: https://modal.com/settings/plans"
)
_NO_STOCK = _Meaning(NoCapacity, "another card may be had")
_GONE = _Meaning(NotFound, "")
_NO_ENVIRONMENT = _Meaning(InvalidRequest, "set MODAL_ENVIRONMENT to one of the workspace, or unset it")
_OURS = _Meaning(InvalidRequest, OUR_FAULT)
_IMAGE = _Meaning(InvalidRequest, "correct the image, or name another one")
_LATER = _Meaning(ProviderUnavailable, TRY_LATER)
_GROWN_APART = _Meaning(ProviderUnavailable, "Modal and its client in this gpu have grown apart: upgrade gpu")

_BY_CLASS = {
    "AuthError": _TOKEN,
    "PermissionDeniedError": _FORBIDDEN,
    "ResourceExhaustedError": _QUOTA,
    "NotFoundError": _GONE,
    "ConflictError": _LATER,
    "AlreadyExistsError": _OURS,
    "InvalidError": _OURS,
    "RequestSizeError": _OURS,
    "ImageBuildError": _IMAGE,
    "UnimplementedError": _GROWN_APART,
    "VersionError": _GROWN_APART,
}
"""What is in none of these classes says nothing of what was asked for."""
_BY_TEXT = (
    (_IMAGE, re.compile(r"shut-down|timed out", re.IGNORECASE), _LATER),
    (_GONE, re.compile(r"^environment\b", re.IGNORECASE), _NO_ENVIRONMENT),
    (_QUOTA, re.compile(r"spend(ing)? limit|budget|payment|credit", re.IGNORECASE), _FUNDS),
    (_OURS, re.compile(r"\bgpu(s|[ _]?types?|_config)?\b(?!-)", re.IGNORECASE), _NO_STOCK),
)
"""The same class with such a text means something else: without its environment nothing is known of an app. `gpu-`
begins the names of what is ours."""


def told(error: Exception, what: str, build_log: str = "") -> ProviderError:
    """The error that stands for this one, which came when Modal was asked to do `what` ("stop gpu-x").

    `build_log` is the last line of the log of the image that could not be built.
    """
    message = f"Modal, asked to {what}: {_said(error, build_log)}"
    if (wait_s := _patience_s(error)) is not None:
        return RateLimited(message, hint=f"try again in {wait_s:.0f} seconds", retry_after_s=wait_s)
    meaning = _meaning(error)
    return meaning.error(message, hint=meaning.hint)


def _meaning(error: Exception) -> _Meaning:
    named = (_BY_CLASS.get(one.__name__) for one in type(error).__mro__ if one.__module__ == "modal.exception")
    meaning = next((found for found in named if found), _LATER)
    others = (other for of, pattern, other in _BY_TEXT if of is meaning and pattern.search(str(error)))
    return next(others, meaning)


def _patience_s(error: Exception) -> float | None:
    """For how long the server wants to be left alone; None where it says nothing of that. The client has waited as
    often as it may by then (modal/_utils/grpc_utils.py, 1.6.4).
    """
    details = getattr(error, "_grpc_details", None) or ()
    waits_s = (getattr(detail, "retry_after_secs", None) for detail in details)
    return next((float(wait_s) for wait_s in waits_s if wait_s is not None), None)


def _said(error: Exception, build_log: str) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return _LIKE_A_SECRET.sub(r"\1***", f"{text}: {build_log}" if build_log else text)[:_LENGTH]
