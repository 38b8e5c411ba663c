"""What each refusal that Lambda is known to give means for us."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.base import Secret
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
from gpu_providers.http import Answer, Request
from gpu_providers.lambda_cloud.pacing import INTERVALS_S, Turn
from gpu_providers.lambda_cloud.refusals import BAN_S, PATIENCE_S, Blocked, refusal

KEY = Secret("secret_gpu_0123456789abcdef")
API = "https://cloud.lambda.ai/api/v1"
READ = Request("GET", f"{API}/instances", KEY)
LAUNCH = Request("POST", f"{API}/instance-operations/launch", KEY)
BLOCKED = "<html><title>Access denied</title><span>error code: 1010</span></html>"
BANNED = "<html><h1>Error 1015</h1>The owner of this website has banned you temporarily</html>"


def said(code: str, message: str = "Something happened.") -> str:
    return json.dumps({"error": {"code": code, "message": message, "suggestion": "Do something."}})


def refused(
    status: int, text: str, *, request: Request = READ, secrets: tuple[str, ...] = (), wait_s: float | None = None
) -> ProviderError:
    return refusal(Answer(request, status, "", text, retry_after_s=wait_s), secrets)


KNOWN: dict[str, tuple[int, str, type[ProviderError]]] = {
    "a wrong key": (401, "global/invalid-api-key", AuthError),
    "an account that is not verified": (403, "global/account-inactive", InsufficientFunds),
    "a billing address that is none": (403, "global/invalid-address", InsufficientFunds),
    "a key that may not": (403, "global/forbidden", AuthError),
    "the quota of the account": (400, "global/quota-exceeded", QuotaExceeded),
    "a wrong body": (400, "global/invalid-parameters", InvalidRequest),
    "a thing that is gone": (404, "global/object-does-not-exist", NotFound),
    "a thing that is gone, at a launch": (400, "global/object-does-not-exist", NotFound),
    "a route that is none": (404, "global/not-found", ProviderUnavailable),
    "a name that is taken": (400, "global/duplicate", InvalidRequest),
    "a state that forbids it": (409, "global/conflict", ProviderUnavailable),
    "a fault told as conflict": (409, "global/internal-error", ProviderUnavailable),
    "a fault of the older API": (400, "global/unknown", ProviderUnavailable),
    "no capacity": (400, "instance-operations/launch/insufficient-capacity", NoCapacity),
    "a file system elsewhere": (400, "instance-operations/launch/file-system-in-wrong-region", InvalidRequest),
    "a file system that is used": (400, "filesystems/filesystem-in-use", ProviderUnavailable),
    "a ruleset that is used": (400, "firewall-rulesets/firewall-ruleset-in-use", ProviderUnavailable),
    "a provider of Lambda's": (400, "provider/internal-unavailable", ProviderUnavailable),
    "a new code, 400": (400, "global/brand-new", InvalidRequest),
    "a new code, 401": (401, "global/brand-new", AuthError),
    "a new code, 403": (403, "global/brand-new", AuthError),
    "a new code, 404": (404, "global/brand-new", ProviderUnavailable),
    "a new code, 409": (409, "global/brand-new", ProviderUnavailable),
}


@pytest.mark.parametrize(("status", "code", "error"), KNOWN.values(), ids=KNOWN)
def test_a_refusal_is_known_by_its_code(status: int, code: str, error: type[ProviderError]) -> None:
    assert type(refused(status, said(code))) is error


@pytest.mark.parametrize(("status", "code", "error"), KNOWN.values(), ids=KNOWN)
def test_its_words_do_not_count(status: int, code: str, error: type[ProviderError]) -> None:
    words = "instance does not exist, quota exceeded, not enough capacity, API key was invalid: error 1010, 1015"
    assert type(refused(status, said(code, words))) is error


@pytest.mark.parametrize("name", KNOWN)
def test_a_server_out_of_order_says_nothing_else(name: str) -> None:
    assert type(refused(500, said(KNOWN[name][1]))) is ProviderUnavailable


@pytest.mark.parametrize("status", [302, 400, 404, 405, 410, 500, 502, 524])
@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "null", "7", '{"error": "x"}', '{"error": {}}', '{"detail": "Not Found"}', '{"error": {"co'],
)
def test_what_anybody_may_answer_is_no_word_of_the_api(status: int, text: str) -> None:
    assert type(refused(status, text)) is ProviderUnavailable


@pytest.mark.parametrize("text", ["", "<html>login</html>"])
def test_a_401_is_about_the_key_whoever_says_it(text: str) -> None:
    assert type(refused(401, text)) is AuthError


@pytest.mark.parametrize("text", [BLOCKED, "error code: 1010", "", '{"cloudflare_error": true, "error_code": 1010}'])
def test_a_403_of_cloudflare_is_nothing_about_the_key(text: str) -> None:
    error = refused(403, text)
    assert type(error) is Blocked
    assert "says nothing of the key" in error.hint


@given(st.text(), st.integers(300, 599))
def test_whatever_is_answered_is_an_error_of_ours(text: str, status: int) -> None:
    for document in (text, json.dumps({"error": text}), said(text, text)):
        assert isinstance(refused(status, document), ProviderError)


# Hints


HINTS = {
    "a wrong key": "LAMBDA_API_KEY",
    "an account that is not verified": "means of payment",
    "the quota of the account": "support",
    "a wrong body": "recipe",
    "a route that is none": "GPU_LAMBDA_API_URL",
    "a name that is taken": "another name",
    "a file system that is used": "end what uses it",
}


@pytest.mark.parametrize(("name", "hint"), HINTS.items(), ids=HINTS)
def test_the_hint_says_what_to_do(name: str, hint: str) -> None:
    status, code, _ = KNOWN[name]
    assert hint in refused(status, said(code)).hint


def test_a_404_from_elsewhere_hints_at_the_address() -> None:
    assert "GPU_LAMBDA_API_URL" in refused(404, "404: Not Found").hint


def test_the_message_repeats_what_lambda_said_on_one_line() -> None:
    message = refused(400, said("global/invalid-parameters", "image: Input\nis wrong")).message
    assert message == "Lambda answered 400 to GET: global/invalid-parameters: image: Input is wrong"


def test_no_capacity_is_told_in_words_of_ours() -> None:
    message = refused(400, said("instance-operations/launch/insufficient-capacity")).message
    assert message == "Lambda has no capacity left for this type in this region"


# Patience


@pytest.mark.parametrize(
    ("text", "request_", "wait_s"),
    [
        ("", READ, PATIENCE_S),
        (said("global/rate-limit"), READ, PATIENCE_S),
        ("", LAUNCH, INTERVALS_S[Turn.LAUNCH]),
        (BANNED, READ, BAN_S),
        (BANNED, LAUNCH, BAN_S),
    ],
    ids=["bare", "in JSON", "launch", "ban", "ban of launches"],
)
def test_a_429_asks_for_patience_whatever_its_body(text: str, request_: Request, wait_s: float) -> None:
    error = refused(429, text, request=request_)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == wait_s
    assert f"{wait_s:.0f} seconds" in error.hint


def test_a_ban_may_come_as_403() -> None:
    error = refused(403, BANNED)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == BAN_S


def test_the_wait_that_is_asked_for_is_passed_on() -> None:
    error = refused(429, BANNED, wait_s=7.0)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


# Secrets


def test_what_was_sent_is_not_repeated() -> None:
    text = said("global/invalid-parameters", "user_data 'HF_TOKEN=hf_abcdefghijkl' by key 1")
    message = refused(400, text, secrets=("hf_abcdefghijkl", "hf_abcde", "1", "")).message
    assert "user_data 'HF_TOKEN=***' by key 1" in message


@pytest.mark.parametrize(
    "like",
    [
        "secret_gpu_abcdef",
        "https://jupyter-1.lambdaspaces.com/?token=0123456789abcdef",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2g",
    ],
    ids=["key", "JupyterLab", "SSH key"],
)
def test_what_looks_like_a_secret_is_not_repeated_though_nobody_told(like: str) -> None:
    message = refused(400, said("global/invalid-parameters", f"near '{like}'")).message
    assert "***" in message
    assert like[-8:] not in message


def test_an_id_is_repeated() -> None:
    known = "0920582c7ff041399e34823a0be62549"
    assert known in refused(404, said("global/object-does-not-exist", f"{known} does not exist")).message


def test_a_long_text_is_cut() -> None:
    assert len(refused(400, said("global/invalid-parameters", "why " * 1000)).message) < 500
