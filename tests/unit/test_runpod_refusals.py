"""What each refusal that RunPod is known to give means for us, by name."""

import json
from typing import Any

import pytest

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
)
from gpu_providers.http import Answer, Request
from gpu_providers.runpod.refusals import Conflict, Unprocessable, refusal

PODS = Request("POST", "https://api.runpod.io/v2/pods", Secret("rpa_x"))


def answer(status: int, text: str, content_type: str = "application/problem+json") -> Answer:
    return Answer(PODS, status, content_type, text)


def refused(status: int, detail: str, **more: Any) -> ProviderError:
    return refusal(answer(status, json.dumps({"title": "T", "status": status, "detail": detail, **more})))


def refused_by_v1(status: int, error: str) -> ProviderError:
    return refusal(answer(status, json.dumps({"error": error, "status": status}), "application/json"))


# Statuses, as https://docs.runpod.io/api-reference-v2/overview and the OpenAPI document have them


def test_400_is_a_request_that_breaks_a_rule() -> None:
    assert type(refused(400, "request could not be processed")) is InvalidRequest


def test_401_is_a_key_that_is_missing_or_wrong() -> None:
    error = refused(401, "missing bearer token")
    assert type(error) is AuthError
    assert "missing bearer token" in error.message
    assert "RUNPOD_API_KEY" in error.hint
    assert "https://www.runpod.io/console/user/settings" in error.hint


def test_401_means_the_same_from_whoever_says_it() -> None:
    assert type(refusal(answer(401, "Unauthorized", "text/plain"))) is AuthError


def test_402_is_an_account_without_money() -> None:
    error = refused(402, "Payment Required")
    assert type(error) is InsufficientFunds
    assert "https://www.runpod.io/console/user/billing" in error.hint


def test_402_needs_no_body() -> None:
    assert type(refusal(answer(402, ""))) is InsufficientFunds


def test_403_is_a_key_without_the_permission() -> None:
    error = refused(403, "access denied")
    assert type(error) is AuthError
    assert "RUNPOD_API_KEY" in error.hint


@pytest.mark.parametrize(
    "blocked",
    [
        answer(403, "<html><title>Access denied</title>error code: 1010</html>", "text/html"),
        answer(403, "error code: 1010", "text/plain"),
        answer(403, ""),
        answer(403, '{"error_code": 1010, "title": "Error 1010", "detail": "browser signature"}'),
    ],
    ids=["page", "text", "empty", "document"],
)
def test_403_by_the_edge_says_nothing_of_the_key(blocked: Answer) -> None:
    error = refusal(blocked)
    assert type(error) is ProviderUnavailable
    assert "blocked by the edge" in error.message
    assert "RUNPOD_API_KEY" not in error.hint


def test_404_is_the_word_of_the_api_that_there_is_no_such_thing() -> None:
    assert type(refused(404, "pod not found")) is NotFound


@pytest.mark.parametrize(
    "text",
    ["", "<html>404 Not Found</html>", "404 page not found", '"not found"', '{"message": "no route"}', "{}"],
    ids=["empty", "page", "text", "string", "foreign document", "empty document"],
)
def test_404_by_anybody_else_leaves_open_whether_it_exists(text: str) -> None:
    error = refusal(answer(404, text, "text/html"))
    assert type(error) is ProviderUnavailable
    assert "GPU_RUNPOD_API_URL" in error.hint


def test_405_is_our_fault() -> None:
    assert type(refused(405, "method not allowed")) is InvalidRequest


def test_409_is_a_state_in_which_it_cannot_be_done() -> None:
    error = refused(409, "action not valid in this state")
    assert type(error) is Conflict
    assert isinstance(error, ProviderUnavailable)


def test_413_is_a_request_that_is_too_long() -> None:
    assert type(refused(413, "request exceeds 102400 bytes")) is InvalidRequest
    assert type(refusal(answer(413, "<html>", "text/html"))) is InvalidRequest


def test_422_is_a_request_that_breaks_the_schema() -> None:
    error = refused(422, "Request validation failed.", errors=["$: additional properties 'X' not allowed"])
    assert isinstance(error, InvalidRequest)
    assert type(error) is Unprocessable
    assert "additional properties 'X' not allowed" in error.message


def test_422_shows_the_missing_property_first() -> None:
    errors = [f"$: additional properties '{name}' not allowed" for name in "abcd"]
    error = refused(422, "Request validation failed.", errors=[*errors, "$: missing property 'name'"])
    assert error.message.startswith("RunPod answered 422 to POST: $: missing property 'name'; ")


def test_422_for_an_image_that_is_not_there_is_the_recipe_s_fault() -> None:
    assert isinstance(refused(422, "image not found on registry: vllm/vllm-openai:v9"), InvalidRequest)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524])
def test_5xx_leaves_everything_open(status: int) -> None:
    assert type(refused(status, "internal error")) is ProviderUnavailable
    assert type(refusal(answer(status, "<html>", "text/html"))) is ProviderUnavailable
    assert type(refusal(answer(status, ""))) is ProviderUnavailable


def test_an_outage_is_not_blamed_on_the_address() -> None:
    assert "GPU_RUNPOD_API_URL" not in refusal(answer(502, "<html>", "text/html")).hint


def test_a_redirect_is_not_the_api() -> None:
    error = refusal(answer(301, "<html>moved</html>", "text/html"))
    assert type(error) is ProviderUnavailable
    assert "GPU_RUNPOD_API_URL" in error.hint


def test_410_is_an_api_that_is_switched_off() -> None:
    error = refusal(answer(410, "Gone", "text/plain"))
    assert type(error) is ProviderUnavailable
    assert "v1, which is retired" in error.message
    assert "https://api.runpod.io/v2" in error.hint


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_in_the_shape_of_v1_names_the_address_to_correct(status: int) -> None:
    error = refused_by_v1(status, "pod not found")
    assert type(error) is ProviderUnavailable
    assert "v1, which is retired" in error.message
    assert "GPU_RUNPOD_API_URL" in error.hint


# Texts

NO_STOCK = {
    "v2 and GraphQL": "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again.",
    "spot": "There are no longer any instances available with the request specifications. Please try again later.",
    "none now": "create pod: There are no instances currently available",
    "small machine": "create pod: This machine does not have the resources to deploy your pod. "
    "Please try a different machine",
    "no such pods": "could not find any pods with required specifications",
    "resume by v1": "start pod: There are not enough free GPUs on the host machine",
    "resume by GraphQL": "There are not enough free GPUs on the host machine to start this pod.",
    "cluster": "Error creating cluster - cluster creation failed",
    "resources": "Insufficient resources",
}


@pytest.mark.parametrize("text", NO_STOCK.values(), ids=NO_STOCK)
def test_400_that_says_so_is_no_capacity(text: str) -> None:
    error = refused(400, text)
    assert type(error) is NoCapacity
    assert error.message == "RunPod is out of stock for this"


V1_TEXTS = [
    "create pod: There are no instances currently available",
    "create pod: This machine does not have the resources to deploy your pod. Please try a different machine",
    "could not find any pods with required specifications",
    "create pod: Something went wrong. Please try again later or contact support.",
    "start pod: There are not enough free GPUs on the host machine",
]


@pytest.mark.parametrize("text", V1_TEXTS)
def test_500_of_v1_leaves_open_what_it_did_whatever_it_says(text: str) -> None:
    error = refused_by_v1(500, text)
    assert type(error) is ProviderUnavailable
    assert text in error.message


def test_400_that_something_went_wrong_asks_to_try_again() -> None:
    assert type(refused(400, "create pod: Something went wrong. Please try again later or contact support.")) is (
        ProviderUnavailable
    )


def test_400_of_a_data_center_that_is_not_found_asks_to_try_again() -> None:
    assert type(refused(400, "Failed to find data center, please try again.")) is ProviderUnavailable


GONE = ["pod not found to terminate", "Tried to delete nonexistent network volume", "Cluster not found"]


@pytest.mark.parametrize("text", GONE)
def test_400_about_a_thing_that_is_gone_already(text: str) -> None:
    assert type(refused(400, text)) is NotFound


FUNDS = [
    "Insufficient balance",
    "Your account has insufficient funds to deploy this pod",
    "not enough credits",
]


@pytest.mark.parametrize("text", FUNDS)
@pytest.mark.parametrize("status", [400, 402, 403])
def test_a_refusal_that_names_money_is_an_account_without_it(status: int, text: str) -> None:
    error = refused(status, text)
    assert type(error) is InsufficientFunds
    assert "add credit at" in error.hint


QUOTAS = ["You have reached your spend limit", "spending limit exceeded", "Max workers quota exceeded", "GPU quota"]


@pytest.mark.parametrize("text", QUOTAS)
@pytest.mark.parametrize("status", [400, 402, 403])
def test_a_refusal_that_names_a_limit_of_the_account_is_a_quota(status: int, text: str) -> None:
    assert type(refused(status, text)) is QuotaExceeded


@pytest.mark.parametrize("text", ["scaling.type: LOAD_BALANCER needs REQUEST_COUNT", "registry credential not found"])
def test_words_that_only_resemble_money_are_not_taken_for_it(text: str) -> None:
    assert type(refused(400, text)) is InvalidRequest


def test_idle_timeout_with_request_count_is_our_fault() -> None:
    text = "idleTimeout does not apply to queue-based endpoints scaling on requestCount"
    assert isinstance(refused(422, text), InvalidRequest)


def test_an_endpoint_of_the_other_kind_is_our_fault() -> None:
    assert type(refused(400, "not allowed for QB API")) is InvalidRequest


@pytest.mark.parametrize("text", ["no workers available", "timed out waiting for worker"])
def test_an_endpoint_without_a_worker_asks_to_try_again(text: str) -> None:
    error = refused(400, text)
    assert type(error) is ProviderUnavailable
    assert "no worker is up" in error.hint


def test_a_job_that_timed_out_is_the_fault_of_what_was_sent() -> None:
    assert type(refused(400, "job timed out after 1 retries")) is InvalidRequest


# Secrets


@pytest.mark.parametrize("secret", ["hf_abcdefghijkl", 'p"ss\\word', "pässwörter", "p&ss<word>", "two  words"])
def test_a_secret_that_was_sent_is_not_repeated_however_it_is_quoted(secret: str) -> None:
    for quoted in (secret, json.dumps(secret)):
        document = {"title": "T", "detail": f"env: {quoted}!", "errors": [f"$: {quoted}"]}
        message = refusal(answer(422, json.dumps(document)), ["hf_", secret, "8000"]).message
        assert message.replace('"', "") == "RunPod answered 422 to POST: $: ***; env: ***!"


def test_what_is_too_short_to_be_secret_stays_readable() -> None:
    request = answer(422, json.dumps({"detail": "port 8000 is taken"}))
    assert "port 8000 is taken" in refusal(request, ["8000", ""]).message


# Tolerance


@pytest.mark.parametrize(
    "text", ['{"title": "Bad Request"}', '{"errors": null}', '{"errors": [{"path": "$"}], "detail": 7}']
)
def test_an_incomplete_document_is_still_understood(text: str) -> None:
    assert type(refusal(answer(400, text))) is InvalidRequest


def test_a_status_that_nobody_documented_concludes_nothing() -> None:
    assert type(refused(418, "teapot")) is ProviderUnavailable


def test_what_it_says_is_one_line_of_bounded_length() -> None:
    message = refused(400, "line\n" * 1000).message
    assert "\n" not in message
    assert len(message) < 500
