"""Vast.ai's REST API on the wire: what is sent, and what is made of each kind of answer."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scripted_server import PAGE, RESET, Asked, Reply, ScriptedServer, said

from gpu_providers.base import Secret
from gpu_providers.errors import (
    AuthError,
    CreateUnknown,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from gpu_providers.http import Http
from gpu_providers.vast import client as vast
from gpu_providers.vast.answers import PAGE as PAGE_LENGTH
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.refusals import PATIENCE_S, AskGone, Retired, SearchQuotaExceeded

KEY = Secret("vast_0123456789abcdef")
BODY = {"client_id": "me", "image": "vllm/vllm-openai:v0.32.0", "env": {"-p 8000:8000": "1", "GPU_BOX_000": "QUJDREVG"}}
QUERY = {"gpu_name": {"in": ["H100 SXM"]}, "order": [["dph_total", "asc"]], "limit": 64}
INSTANCE_KEY = "f00d" * 16
MADE = {"success": True, "new_contract": 7, "instance_api_key": INSTANCE_KEY}
GONE = said({"instances": None})
NOBODY = said({"instances": [], "next_token": None, "total_instances": 0})


def client(cloud: ScriptedServer | str, sleep: Callable[[float], None] = lambda _: None) -> VastClient:
    return VastClient(KEY, cloud if isinstance(cloud, str) else cloud.url, Http(sleep=sleep))


def no(error: str, status: int = 400, msg: str = "", **more: Any) -> Reply:
    """A refusal as Vast.ai writes it."""
    return said({"success": False, "error": error, "msg": msg, **more}, status)


def page(*rows: object, token: str | None = None) -> Reply:
    return said({"instances": list(rows), "next_token": token, "total_instances": 99})


def one(row: object) -> Reply:
    return said({"instances": row})


def sent(asked: Asked) -> tuple[str, str]:
    return asked.method, asked.path


CALLS: dict[str, tuple[Callable[[VastClient], Any], Reply, tuple[str, str, dict[str, str], Any]]] = {
    "search": (
        lambda c: c.search(QUERY),
        said({"offers": []}),
        ("POST", "/api/v0/bundles/", {}, QUERY),
    ),
    "create": (
        lambda c: c.create(1234567, BODY),
        said(MADE),
        ("PUT", "/api/v0/asks/1234567/", {}, BODY),
    ),
    "instance": (
        lambda c: c.instance(7),
        one({"id": 7}),
        ("GET", "/api/v0/instances/7/", {}, None),
    ),
    "instances": (
        lambda c: c.instances(),
        NOBODY,
        ("GET", "/api/v1/instances/", {"limit": "25", "order_by": '[{"col": "id", "dir": "asc"}]'}, None),
    ),
    "destroy": (
        lambda c: c.destroy("7"),
        said({"success": True}),
        ("DELETE", "/api/v0/instances/7/", {}, None),
    ),
    "request_logs": (
        lambda c: c.request_logs(7, tail=1000),
        said({"success": True, "result_url": "https://s3.amazonaws.com/vast.ai/instance_logs/x.log"}),
        ("PUT", "/api/v0/instances/request_logs/7/", {}, {"tail": "1000"}),
    ),
    "user": (
        lambda c: c.user(),
        said({"id": 1, "credit": 12.5}),
        ("GET", "/api/v0/users/current", {}, None),
    ),
}


@pytest.mark.parametrize(("call", "reply", "expected"), CALLS.values(), ids=CALLS)
def test_every_route_is_asked_as_documented(
    call: Callable[[VastClient], Any], reply: Reply, expected: tuple[str, str, dict[str, str], Any]
) -> None:
    with ScriptedServer(reply) as cloud:
        call(client(cloud))
    asked = cloud.asked[0]
    assert (asked.method, asked.path, asked.query, asked.body) == expected
    assert asked.headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert asked.headers["user-agent"].startswith("gpu-cli/")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_is_told_on_every_route_and_is_nothing_that_is_gone(name: str, status: int) -> None:
    with ScriptedServer(no("auth_error", status, "Invalid user key")) as cloud, pytest.raises(AuthError):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "create"])
def test_what_may_be_asked_twice_is_asked_again_after_a_web_page(name: str) -> None:
    with ScriptedServer(PAGE, Reply(502, "<html>"), CALLS[name][1]) as cloud:
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "create"])
@pytest.mark.parametrize("answer", ["x", [], None, 7])
def test_an_answer_that_is_no_object_is_no_answer(name: str, answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="not an object"):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "create"])
def test_an_answer_of_200_that_says_no_is_a_refusal(name: str) -> None:
    with ScriptedServer(no("insufficient_credit", 200)) as cloud, pytest.raises(InsufficientFunds):
        CALLS[name][0](client(cloud))


@pytest.mark.parametrize("name", CALLS)
def test_a_redirect_is_not_followed_so_the_key_stays_here(name: str) -> None:
    with (
        ScriptedServer() as elsewhere,
        ScriptedServer(Reply(308, headers={"Location": elsewhere.url})) as cloud,
        pytest.raises((ProviderUnavailable, CreateUnknown)),
    ):
        CALLS[name][0](client(cloud))
    assert elsewhere.asked == []


@pytest.mark.parametrize("wrong", ["", "../users", "7/../8", "7?x=", " 7", "-1", "0x7", "٧", "1" * 19])
def test_what_is_no_id_reaches_no_route(wrong: str) -> None:
    with ScriptedServer() as cloud:
        for call in (
            lambda c: c.instance(wrong),
            lambda c: c.instances(instance_id=wrong),
            lambda c: c.destroy(wrong),
            lambda c: c.request_logs(wrong, tail=1),
            lambda c: c.create(wrong, BODY),
        ):
            with pytest.raises(InvalidRequest, match="no id"):
                call(client(cloud))
    assert cloud.asked == []


# Patience


def test_a_429_is_waited_out_for_as_long_as_it_asks() -> None:
    slept: list[float] = []
    busy = said({"error": "HTTPTooManyRequests", "retry_after": 10}, 429, **{"Retry-After": "10"})
    with ScriptedServer(busy, said({"offers": []})) as cloud:
        assert client(cloud, slept.append).search(QUERY) == []
    assert slept == [10.0]


def test_a_429_of_the_older_kind_is_waited_out_for_some_seconds() -> None:
    slept: list[float] = []
    with ScriptedServer(Reply(429, "API requests too frequent endpoint threshold=2.0"), one({"id": 7})) as cloud:
        client(cloud, slept.append).instance(7)
    assert slept == [PATIENCE_S]


def test_a_429_that_asks_for_more_than_a_call_may_take_is_left_to_the_caller() -> None:
    with ScriptedServer(said({}, 429, **{"Retry-After": "60"})) as cloud, pytest.raises(RateLimited) as caught:
        client(cloud).destroy(7)
    assert caught.value.retry_after_s == 60


def test_a_quota_of_searches_that_is_used_up_is_asked_only_once_and_says_until_when() -> None:
    reset = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    reply = no("search_quota_exceeded", 429)
    reply.headers["X-RateLimit-Reset"] = str(int(reset.timestamp()))
    with ScriptedServer(reply) as cloud, pytest.raises(SearchQuotaExceeded) as caught:
        client(cloud).search(QUERY)
    assert isinstance(caught.value, QuotaExceeded)
    assert caught.value.until == reset


# Searching


def test_a_search_answers_the_rows() -> None:
    with ScriptedServer(said({"offers": [{"id": 1}, {"id": 2}]})) as cloud:
        assert client(cloud).search(QUERY) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("answer", [{}, {"offers": None}, {"offers": {"id": 1}}, {"bundles": []}, {"offers": ["x"]}])
def test_an_answer_without_rows_does_not_mean_that_nothing_is_for_rent(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="no list of offers"):
        client(cloud).search(QUERY)


# Reading one


@pytest.mark.parametrize(
    "found", [{"id": 7, "label": "x"}, [{"id": 7, "label": "x"}], [{"id": 6}, {"id": 7, "label": "x"}]]
)
@pytest.mark.parametrize("instance_id", [7, "7"])
def test_an_instance_comes_as_an_object_or_in_a_list(found: object, instance_id: int | str) -> None:
    with ScriptedServer(one(found)) as cloud:
        assert client(cloud).instance(instance_id) == {"id": 7, "label": "x"}


def test_an_id_in_an_answer_may_be_text() -> None:
    with ScriptedServer(one({"id": "7"}), page({"id": "7"}, {"id": "8"})) as cloud:
        assert client(cloud).instance(7) == {"id": "7"}
        assert client(cloud).instances(instance_id=7) == [{"id": "7"}]


ABSENT = [GONE, one([]), no("no_such_instance", 404)]


@pytest.mark.parametrize("absent", ABSENT, ids=["null", "empty list", "404"])
def test_an_instance_that_neither_its_route_nor_the_list_knows_is_gone(absent: Reply) -> None:
    with ScriptedServer(absent, NOBODY) as cloud, pytest.raises(NotFound):
        client(cloud).instance(7)
    assert [asked.path for asked in cloud.asked] == ["/api/v0/instances/7/", "/api/v1/instances/"]
    assert json.loads(cloud.asked[1].query["select_filters"]) == {"id": {"eq": 7}}


@pytest.mark.parametrize("absent", ABSENT, ids=["null", "empty list", "404"])
def test_an_instance_that_only_the_list_knows_exists(absent: Reply) -> None:
    with ScriptedServer(absent, page({"id": 7})) as cloud:
        assert client(cloud).instance(7) == {"id": 7}


@pytest.mark.parametrize(
    "broken",
    [
        no("deprecated_endpoint", 410),
        no("not_found", 404),
        Reply(404, "404: Not Found"),
        said({"instances": None}),
        said({}),
    ],
    ids=["410", "404", "404 of nobody", "null", "without list"],
)
def test_an_instance_is_not_gone_while_the_list_does_not_answer(broken: Reply) -> None:
    with ScriptedServer(GONE, broken) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).instance(7)


@pytest.mark.parametrize(
    "answer", [{}, {"instances": "x"}, {"instances": {"id": 8}}, {"instances": [{"id": 8}]}, {"instances": {}}]
)
def test_an_answer_about_anything_else_is_no_word_that_an_instance_is_gone(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="instance 7"):
        client(cloud).instance(7)


# Lists


def test_every_page_of_the_list_is_read() -> None:
    with ScriptedServer(page({"id": 1}, token="t1"), page({"id": 2}, token="t2"), page({"id": 3})) as cloud:
        assert [row["id"] for row in client(cloud).instances()] == [1, 2, 3]
    assert [asked.query.get("after_token") for asked in cloud.asked] == [None, "t1", "t2"]


def test_the_list_is_asked_for_a_label_and_does_not_rely_on_it() -> None:
    with ScriptedServer(page({"id": 1, "label": "gpu-a"}, {"id": 2, "label": "gpu-ab"}, {"id": 3})) as cloud:
        assert client(cloud).instances(label="gpu-a") == [{"id": 1, "label": "gpu-a"}, {"id": 3}]  # it does not say
    assert json.loads(cloud.asked[0].query["select_filters"]) == {"label": {"eq": "gpu-a"}}


@pytest.mark.parametrize("answer", [{}, {"instances": None}, {"instances": {}}, {"offers": []}])
def test_an_answer_without_the_list_is_not_an_empty_list(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="no list of instances"):
        client(cloud).instances()


def test_the_retired_list_is_no_empty_list_and_hints_at_an_upgrade() -> None:
    with ScriptedServer(no("deprecated_endpoint", 410)) as cloud, pytest.raises(Retired) as caught:
        client(cloud).instances()
    assert "upgrade" in caught.value.hint


def test_a_list_that_does_not_end_is_none() -> None:
    again = page({"id": 1}, token="again")
    with ScriptedServer(again, again) as cloud, pytest.raises(ProviderUnavailable, match="does not end"):
        client(cloud).instances()


def test_a_list_of_which_a_page_fails_is_none() -> None:
    with (
        ScriptedServer(page({"id": 1}, token="t1"), no("invalid_token", 400)) as cloud,
        pytest.raises(ProviderUnavailable, match="invalid_token"),
    ):
        client(cloud).instances()


def test_a_full_page_that_does_not_say_whether_there_is_more_is_not_the_whole_list() -> None:
    rows = [{"id": number} for number in range(PAGE_LENGTH)]
    with (
        ScriptedServer(said({"instances": rows})) as cloud,
        pytest.raises(ProviderUnavailable, match="whether there is"),
    ):
        client(cloud).instances()
    with ScriptedServer(said({"instances": rows[1:]})) as cloud:
        assert client(cloud).instances() == rows[1:]


# Creating


@pytest.mark.parametrize("contract", [7, "7"])
def test_a_create_answers_the_id_of_the_instance(contract: object) -> None:
    with ScriptedServer(said({**MADE, "new_contract": contract})) as cloud:
        assert client(cloud).create(1, BODY) == 7


@pytest.mark.parametrize(
    "outcome",
    [
        RESET,
        no("server_error", 500),
        no("server_error", 400),
        Reply(502, "<html>", {"Content-Type": "text/html"}),
        Reply(404, "<html>", {"Content-Type": "text/html"}),
        Reply(400, ""),
        said({"detail": "conflict"}, 409),
        PAGE,
        Reply(200, '{"success": true, "new_con', {"Content-Type": "application/json"}),
        Reply(200, '{"success": true, "new_contract": 7}', {"Content-Type": "application/json"}, cut=9),
        Reply(200, '{"success": true, "new_contract": 7', {"Content-Type": "application/json"}),
        Reply(200, ""),
        said({"success": True}),
        said({"success": True, "new_contract": None}),
        said({"success": True, "new_contract": -1}),
        said({"success": False}),
        said([7]),
    ],
    ids=["reset", "500", "server_error", "502", "404 page", "400 empty", "409", "page", "truncated JSON", "broken off",
         "half a number", "empty", "without id", "id null", "no id", "no, without words", "list"],
)  # fmt: skip
def test_a_create_may_have_worked_after(outcome: Reply) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(CreateUnknown) as caught:
        client(cloud).create(1, BODY)
    assert len(cloud.asked) == 1, "a create must never be sent twice"
    assert "look for its label" in caught.value.hint


REFUSED = {
    "ask gone, 400": (no("invalid_args", 400, "no_such_ask"), AskGone),
    "ask gone, 404": (no("invalid_args", 404, "error 404/3603: no_such_ask Instance type is not available."), AskGone),
    "ask gone, 410": (no("no_such_ask", 410), AskGone),
    "ask gone, 200": (no("no_such_ask", 200), AskGone),
    "no credit": (no("insufficient_credit"), InsufficientFunds),
    "new account": (no("spend_rate_limit"), QuotaExceeded),
    "wrong body": (no("invalid_args", 400, "invalid env type"), InvalidRequest),
    "wrong key": (no("auth_error", 404), AuthError),
    "retired": (no("deprecated_endpoint", 410), Retired),
    "busy": (Reply(429, "API requests too frequent endpoint threshold=4.5"), RateLimited),
}


@pytest.mark.parametrize(("outcome", "error"), REFUSED.values(), ids=REFUSED)
def test_a_create_that_was_refused_has_made_nothing(outcome: Reply, error: type[ProviderError]) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(error):
        client(cloud).create(1, BODY)
    assert len(cloud.asked) == 1, "a create must never be sent twice"


def test_a_create_that_found_nobody_has_made_nothing() -> None:
    with pytest.raises(ProviderUnavailable, match="no connection"):
        client("http://127.0.0.1:9").create(1, BODY)


MADE_ALL_THE_SAME = {
    "bid too low": (no("", 200, "bid is too low", new_contract=7), NoCapacity),
    "bid too low, 400": (no("invalid_args", 400, "bid is too low", new_contract="7"), NoCapacity),
    "ask gone": (no("no_such_ask", 410, new_contract=7), AskGone),
    "no credit": (no("insufficient_credit", 400, new_contract=7), InsufficientFunds),
    "new account": (no("spend_rate_limit", 200, new_contract=7), QuotaExceeded),
    "out of order": (no("server_error", 500, new_contract=7), NoCapacity),
    "success of 500": (said(MADE, 500), NoCapacity),
    "busy": (no("", 429, new_contract=7), RateLimited),
    "null success": (said({**MADE, "success": None}), NoCapacity),
    "nested": (no("invalid_args", 400, "bid is too low", details={"new_contract": 7}), NoCapacity),
    "a number with a point": (no("invalid_args", 400, new_contract=7.0), NoCapacity),
    "in a list": (said([{"success": False, "new_contract": 7}], 400), NoCapacity),
    "as text": (no("invalid_args", 400, 'cannot start: {"new_contract": "7"}'), NoCapacity),
    "on a page": (Reply(400, '<pre>{"new_contract": 7}</pre>', {"Content-Type": "text/html"}), NoCapacity),
    "on a page of success": (Reply(200, '<pre>{"new_contract": 7}</pre>', {"Content-Type": "text/html"}), NoCapacity),
}


@pytest.mark.parametrize(("outcome", "error"), MADE_ALL_THE_SAME.values(), ids=MADE_ALL_THE_SAME)
def test_an_instance_that_a_failed_create_made_is_ended_before_its_refusal_is_told(
    outcome: Reply, error: type[ProviderError]
) -> None:
    with ScriptedServer(outcome, said({"success": True}), GONE, NOBODY) as cloud, pytest.raises(error):
        client(cloud).create(1, BODY)
    assert [sent(asked) for asked in cloud.asked[1:3]] == [
        ("DELETE", "/api/v0/instances/7/"),
        ("GET", "/api/v0/instances/7/"),
    ]


def test_an_instance_of_a_failed_create_is_destroyed_until_it_reads_as_gone() -> None:
    replies = [
        no("", 200, new_contract=7),
        no("server_error", 400),
        said({"success": True}),
        one({"id": 7}),
        said({"success": True}),
        GONE,
        page({"id": 7}),
        no("no_such_instance", 404),
        GONE,
        NOBODY,
    ]
    slept: list[float] = []
    with ScriptedServer(*replies) as cloud, pytest.raises(NoCapacity):
        client(cloud, slept.append).create(1, BODY)
    assert set(slept) == {vast.UNDO_PAUSE_S}


@pytest.mark.parametrize(
    "round_",
    [
        [said({"success": True}), one({"id": 7})],
        [no("auth_error", 404)],
        [said({"success": True}), GONE, Reply(404)],
        [no("no_such_instance", 404), GONE, NOBODY],
    ],
    ids=["stays", "cannot be destroyed", "cannot be looked up", "is not known yet"],
)
def test_an_instance_of_a_failed_create_that_may_still_exist_is_left_to_the_caller(round_: list[Reply]) -> None:
    replies = [no("insufficient_credit", 400, new_contract=7), *round_ * vast.UNDO_TRIES]
    with ScriptedServer(*replies) as cloud, pytest.raises(CreateUnknown, match="instance 7") as caught:
        client(cloud).create(1, BODY)
    assert "look for its label" in caught.value.hint


def test_no_error_of_a_create_holds_a_key_or_the_environment() -> None:
    echo = f"env {BODY['env']} by {KEY.reveal()} for {INSTANCE_KEY}"
    for outcome in (no("invalid_args", 400, echo), no("", 400, echo), no("server_error", 500, echo)):
        with ScriptedServer(outcome) as cloud, pytest.raises(ProviderError) as caught:
            client(cloud).create(1, BODY)
        told = f"{caught.value!r} {caught.value.hint}"
        assert not [secret for secret in (KEY.reveal(), INSTANCE_KEY, "QUJDREVG") if secret in told]


@pytest.mark.parametrize("outcome", [said({**MADE, "new_contract": "x"}), said({**MADE, "new_contract": 7}, 500)])
def test_no_error_of_a_create_holds_the_key_of_the_instance(outcome: Reply) -> None:
    gone = [said({"success": True}), GONE, NOBODY] if outcome.status == 500 else []
    with ScriptedServer(outcome, *gone) as cloud, pytest.raises(ProviderError) as caught:
        client(cloud).create(1, BODY)
    assert INSTANCE_KEY not in f"{caught.value!r} {caught.value.hint} {caught.value.__context__!r}"


# Destroying


@pytest.mark.parametrize(
    "reply",
    [said({"success": True}), said({}), no("no_such_instance", 404), no("not_found", 404, "Instance not found")],
    ids=["200", "200 without success", "no_such_instance", "not_found"],
)
def test_destroying_what_is_gone_is_success(reply: Reply) -> None:
    with ScriptedServer(reply) as cloud:
        client(cloud).destroy(7)


def test_a_destroy_that_says_500_is_sent_again() -> None:
    with ScriptedServer(Reply(500), no("no_such_instance", 404)) as cloud:
        client(cloud).destroy(7)


@pytest.mark.parametrize(
    "reply",
    [Reply(404), Reply(404, "<html>"), Reply(403, "<html>"), no("invalid_args", 404), no("", 200), Reply(204)],
    ids=["empty 404", "404 page", "403 page", "another 404", "no", "empty"],
)
def test_what_anybody_may_answer_is_no_word_that_an_instance_is_destroyed(reply: Reply) -> None:
    with ScriptedServer(reply) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).destroy(7)


# Logs


@pytest.mark.parametrize("answer", [{"success": True}, {"result_url": None}, {"result_url": ""}, {"result_url": 7}])
def test_a_log_that_is_nowhere_is_no_log(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="where the log will be"):
        client(cloud).request_logs(7, tail=10)


def test_the_log_of_an_instance_that_is_gone_is_not_found() -> None:
    with ScriptedServer(no("invalid_id", 404, "Invalid instance id.")) as cloud, pytest.raises(NotFound):
        client(cloud).request_logs(7, tail=10)


@pytest.mark.parametrize("text", ["INFO loading\nerror: caf\u00e9\n", "", "{"])
def test_an_uploaded_log_is_read_without_the_key(text: str) -> None:
    with ScriptedServer(Reply(200, text.encode())) as store:
        assert client("http://127.0.0.1:9").log_text(f"{store.url}/vast.ai/x.log?X-Amz-Signature=s") == text
    assert "authorization" not in store.asked[0].headers
    assert sent(store.asked[0]) == ("GET", "/vast.ai/x.log")


@pytest.mark.parametrize("status", [403, 404])
def test_a_log_that_is_not_uploaded_yet_is_none(status: int) -> None:
    with ScriptedServer(Reply(status, "<Error/>")) as store:
        assert client("http://127.0.0.1:9").log_text(store.url) is None


@pytest.mark.parametrize("reply", [Reply(503), Reply(302), RESET], ids=["503", "302", "reset"])
def test_a_store_that_is_out_of_order_does_not_quote_its_address_where_anyone_could_read_the_log(reply: Reply) -> None:
    with ScriptedServer(reply) as store, pytest.raises(ProviderUnavailable) as caught:
        client("http://127.0.0.1:9").log_text(f"{store.url}/f00d.log?signature=secret")
    assert not [part for part in ("secret", "f00d") if part in caught.value.message]


# The account


@pytest.mark.parametrize(("credit", "read"), [(12.5, 12.5), ("12.5", 12.5), (0, 0.0), (-1.25, -1.25)])
def test_the_balance_is_what_can_be_spent(credit: object, read: float) -> None:
    with ScriptedServer(said({"id": 1, "credit": credit, "balance": 99.0})) as cloud:
        assert client(cloud).balance_usd() == read


@pytest.mark.parametrize(
    "reply",
    [said({}), said({"credit": None}), said([]), no("auth_error", 404), Reply(401), Reply(404), no("x", 200)],
    ids=["no figure", "null", "list", "wrong key", "401", "404", "no"],
)
def test_a_balance_that_cannot_be_had_is_none(reply: Reply) -> None:
    with ScriptedServer(reply) as cloud:
        assert client(cloud).balance_usd() is None


def test_a_balance_of_a_cloud_that_is_away_is_none() -> None:
    assert client("http://127.0.0.1:9").balance_usd() is None


def test_the_client_loads_without_the_http_library() -> None:
    code = "import sys, gpu_providers.vast.client; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
