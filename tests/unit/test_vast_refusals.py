"""What each refusal that Vast.ai is known to give means for us."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

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
from gpu_providers.vast.refusals import PATIENCE_S, AskGone, Retired, SearchQuotaExceeded, refusal

KEY = Secret("vast_0123456789abcdef")
API = "https://console.vast.ai/api"
ROUTES = {
    "search": Request("POST", f"{API}/v0/bundles/", KEY),
    "create": Request("PUT", f"{API}/v0/asks/1234567/", KEY),
    "list": Request("GET", f"{API}/v1/instances/", KEY),
    "read": Request("GET", f"{API}/v0/instances/7/", KEY),
    "destroy": Request("DELETE", f"{API}/v0/instances/7/", KEY),
    "log": Request("PUT", f"{API}/v0/instances/request_logs/7/", KEY),
    "user": Request("GET", f"{API}/v0/users/current", KEY),
}
NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


def refused(route: str, status: int, text: str, *, secrets: tuple[str, ...] = (), **headers: str) -> ProviderError:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(Answer(ROUTES[route], status, "", text, headers=sent), NOW, secrets)


def said(error: str, msg: str = "", **more: Any) -> str:
    return json.dumps({"success": False, "error": error, "msg": msg, **more})


KNOWN: dict[str, tuple[str, int, str, type[ProviderError]]] = {
    "a wrong key": ("user", 401, said("auth_error", "Invalid user key"), AuthError),
    "a wrong key as 404 of a search": (
        "search",
        404,
        json.dumps({"error": "auth_error", "msg": "Invalid user key"}),
        AuthError,
    ),
    "a wrong key as 404 of an instance": ("read", 404, said("auth_error", "Invalid user key"), AuthError),
    "a wrong key as 404 of a destroy": ("destroy", 404, said("auth_error", "Invalid user key"), AuthError),
    "a wrong key without its code": ("list", 404, json.dumps({"msg": "Invalid user key"}), AuthError),
    "no key": ("user", 401, "", AuthError),
    "no key, as a page": ("user", 401, "<html>", AuthError),
    "no key as 403": ("list", 403, said("auth_error", "This action requires login."), AuthError),
    "an expired session": ("read", 404, json.dumps({"msg": "Session expired. Please log in again."}), AuthError),
    "a key without the scope": ("log", 403, said("not_authorized", "Not authorized to view logs"), AuthError),
    "another 403": ("user", 403, json.dumps({"detail": "Forbidden"}), AuthError),
    "an ask that is gone, 404": (
        "create",
        404,
        said("invalid_args", "error 404/3603: no_such_ask Instance type by id 1234567 is not available."),
        AskGone,
    ),
    "an ask that is gone, 410": (
        "create",
        410,
        said("no_such_ask", "error 410/3907: no_such_ask Instance type 1234567 is no longer available."),
        AskGone,
    ),
    "an ask that is gone, 400": ("create", 400, said("invalid_args", "error 400/3603: no_such_ask"), AskGone),
    "an ask that is gone, 200": ("create", 200, said("no_such_ask"), AskGone),
    "an ask that is gone, in words": ("create", 400, said("invalid_args", "Offer is no longer available"), AskGone),
    "an ask for its own host alone": (
        "create",
        403,
        said("invalid_args", "error 403/3586: Offer 1234567 is not your own."),
        NoCapacity,
    ),
    "a machine that is in use": (
        "create",
        400,
        said("", "Required resources are currently unavailable, state change queued"),
        NoCapacity,
    ),
    "no credit": ("create", 400, said("insufficient_credit"), InsufficientFunds),
    "no credit, in words": (
        "create",
        400,
        json.dumps({"success": False, "msg": "Your account lacks credit; see the billing page."}),
        InsufficientFunds,
    ),
    "no credit, 402": ("create", 402, said("payment"), InsufficientFunds),
    "a new account's cap": ("create", 400, said("spend_rate_limit"), QuotaExceeded),
    "a new account's cap as 403": ("create", 403, said("spend_rate_limit"), QuotaExceeded),
    "a body that is wrong": (
        "create",
        400,
        said("invalid_args", "error 400/3467: Invalid args: 'disk' is required"),
        InvalidRequest,
    ),
    "a bid that is wrong for this offer": ("create", 400, said("invalid_price"), NoCapacity),
    "an ask whose number is none any more": (
        "create",
        400,
        said("invalid_args", "error 400/3467: Invalid args: 'id' is required and must be a valid offer ID"),
        AskGone,
    ),
    "an ask for virtual machines": ("create", 400, said("no_ssh_key_for_vm"), InvalidRequest),
    "an environment that is text": (
        "create",
        400,
        json.dumps({"success": False, "msg": "invalid env type"}),
        InvalidRequest,
    ),
    "a filter that is wrong": (
        "search",
        400,
        said("bad_request", "Input should be a valid dictionary"),
        InvalidRequest,
    ),
    "a column that cannot be filtered": (
        "list",
        400,
        json.dumps({"error": "invalid_request", "msg": "dph_total is not a valid search key"}),
        InvalidRequest,
    ),
    "a page that is no more": ("list", 400, json.dumps({"error": "invalid_token"}), ProviderUnavailable),
    "the list of v0": (
        "list",
        410,
        json.dumps({"success": False, "error": "deprecated_endpoint", "msg": "use v1"}),
        Retired,
    ),
    "a retired route": ("list", 410, json.dumps({"detail": "gone"}), Retired),
    "an instance that is gone": ("destroy", 404, said("no_such_instance"), NotFound),
    "an instance that is gone, as specified": ("destroy", 404, said("not_found", "Instance not found"), NotFound),
    "an instance that has no log": (
        "log",
        404,
        json.dumps({"error": "invalid_id", "msg": "Invalid instance id."}),
        NotFound,
    ),
    "too often": ("read", 429, json.dumps({"detail": "API requests too frequent endpoint threshold=2.0"}), RateLimited),
    "too often, in plain text": ("read", 429, "API requests too frequent endpoint threshold=2.0", RateLimited),
    "too often, 2026": ("search", 429, json.dumps({"error": "HTTPTooManyRequests", "retry_after": 10}), RateLimited),
    "too often, as specified for a destroy": (
        "destroy",
        429,
        said("rate_limit_exceeded", "threshold=3.0"),
        RateLimited,
    ),
    "too many searches today": ("search", 429, said("search_quota_exceeded"), SearchQuotaExceeded),
    "a server out of order": ("list", 500, said("server_error"), ProviderUnavailable),
    "a fault of the server as 400": ("create", 400, said("server_error"), ProviderUnavailable),
    "words that nobody knows": ("destroy", 200, said("flux_inverted"), ProviderUnavailable),
}


@pytest.mark.parametrize(("route", "status", "text", "error"), KNOWN.values(), ids=KNOWN)
def test_a_refusal_is_known_by_what_it_says(route: str, status: int, text: str, error: type[ProviderError]) -> None:
    assert type(refused(route, status, text)) is error


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("status", [200, 302, 308, 400, 403, 404, 410, 500, 502])
def test_what_anybody_may_answer_is_no_word_of_the_api(route: str, status: int) -> None:
    for text in ("", "<html>blocked</html>", "[]", "null", "7", '{"blocked": true}', '{"error": '):
        assert type(refused(route, status, text)) is ProviderUnavailable, text


@pytest.mark.parametrize("route", ["search", "create", "list", "user"])
@pytest.mark.parametrize("code", ["no_such_instance", "not_found", "invalid_id"])
def test_only_the_routes_of_one_instance_can_say_that_it_is_gone(route: str, code: str) -> None:
    assert type(refused(route, 404, said(code))) is ProviderUnavailable


@pytest.mark.parametrize("status", [200, 400, 403, 410, 500, 503])
def test_only_a_404_says_that_an_instance_is_gone(status: int) -> None:
    assert not isinstance(refused("destroy", status, said("no_such_instance")), NotFound)


@pytest.mark.parametrize("name", KNOWN)
def test_a_server_out_of_order_says_nothing_else(name: str) -> None:
    route, _, text, _ = KNOWN[name]
    assert type(refused(route, 500, text)) is ProviderUnavailable


@given(st.text(), st.sampled_from([400, 401, 403, 404, 410, 429, 500]), st.sampled_from(sorted(ROUTES)))
def test_whatever_is_answered_is_an_error_of_ours(text: str, status: int, route: str) -> None:
    assert isinstance(refused(route, status, text), ProviderError)


# Hints


HINTS = {
    "a wrong key": "VAST_API_KEY",
    "an expired session": "second factor",
    "a key without the scope": "instance_write",
    "no credit": "https://cloud.vast.ai/billing/",
    "a body that is wrong": "recipe",
    "the list of v0": "pip install --upgrade gpu-up",
}


@pytest.mark.parametrize(("name", "hint"), HINTS.items(), ids=HINTS)
def test_the_hint_says_what_to_do(name: str, hint: str) -> None:
    route, status, text, _ = KNOWN[name]
    assert hint in refused(route, status, text).hint


def test_a_404_from_elsewhere_hints_at_the_address() -> None:
    assert "GPU_VAST_API_URL" in refused("list", 404, "404: Not Found").hint


def test_the_message_repeats_what_vast_said() -> None:
    message = refused("create", 400, said("invalid_args", "error 400/3467:  'disk' is\nrequired")).message
    assert message == "Vast.ai answered 400 to PUT: invalid_args: error 400/3467: 'disk' is required"


# Patience


def test_the_wait_that_is_asked_for_is_passed_on() -> None:
    answer = Answer(ROUTES["read"], 429, "", "slow down", retry_after_s=10.0)
    error = refusal(answer, NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 10
    assert "10 seconds" in error.hint


def test_a_429_that_does_not_say_for_how_long_asks_for_some_seconds() -> None:
    error = refused("read", 429, "API requests too frequent endpoint threshold=2.0")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == PATIENCE_S


def until(**headers: str) -> datetime:
    error = refused("search", 429, said("search_quota_exceeded"), **headers)
    assert isinstance(error, SearchQuotaExceeded)
    return error.until


def test_the_quota_ends_when_its_header_says() -> None:
    reset = NOW + timedelta(hours=2)
    assert until(x_ratelimit_reset=str(int(reset.timestamp()))) == reset


@pytest.mark.parametrize("reset", [None, "", "soon", "0", "10", "-1", "nan", "1e30", "1700000000", "99999999999"])
def test_a_quota_that_does_not_say_when_it_ends_does_so_at_midnight(reset: str | None) -> None:
    assert until(**({} if reset is None else {"x_ratelimit_reset": reset})) == MIDNIGHT


def test_the_hint_says_when_searches_are_answered_again() -> None:
    assert "2026-11-22 00:00 UTC" in SearchQuotaExceeded(MIDNIGHT).hint


# Secrets


def test_what_was_sent_is_not_repeated() -> None:
    text = said("invalid_args", "env {'HF_TOKEN': 'hf_abcdefghijkl'} by vast_0123456789abcdef: -p 8000:8000 is 1")
    message = refused("create", 400, text, secrets=("hf_abcdefghijkl", KEY.reveal(), "1", "")).message
    assert "env {'HF_TOKEN': '***'} by ***: -p 8000:8000 is 1" in message


def test_of_two_secrets_where_one_is_part_of_the_other_nothing_is_left() -> None:
    text = said("invalid_args", "secret-one-and-two")
    assert "two" not in refused("create", 400, text, secrets=("secret-one", "secret-one-and-two")).message


@pytest.mark.parametrize("like", ["0123456789abcdef" * 4, "QUJDREVG+/aGVsbG8gd29ybGQ" * 4 + "=="])
def test_what_looks_like_a_key_is_not_repeated_though_nobody_told(like: str) -> None:
    assert like[:12] not in refused("create", 400, said("invalid_args", f"near '{like[:120]}'")).message


def test_the_key_of_an_instance_is_never_told() -> None:
    text = said("insufficient_credit", new_contract=7, instance_api_key="f00d" * 16)
    assert "f00d" not in repr(refused("create", 400, text))


def test_a_long_text_is_cut() -> None:
    assert len(refused("create", 400, said("invalid_args", "why " * 1000)).message) < 500
