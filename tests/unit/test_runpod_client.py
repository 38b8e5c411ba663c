"""RunPod's REST API on the wire: what is sent, and what is made of each kind of answer."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import PAGE, RESET, Reply, ScriptedServer, problem, said

from gpu_providers import event_stream, values
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
    RateLimited,
)
from gpu_providers.http import Http
from gpu_providers.runpod import log_lines
from gpu_providers.runpod.client import RunPodClient
from gpu_providers.runpod.log_lines import LogLine, LogQuery

KEY = Secret("rpa_0123456789abcdef")
BODY = {"name": "gpu-x-12345678", "env": {"HF_TOKEN": "hf_abcdefghijkl", "PORT": "8000"}}


def client(cloud: ScriptedServer | str) -> RunPodClient:
    url = cloud if isinstance(cloud, str) else f"{cloud.url}/v2"
    return RunPodClient(KEY, url, Http(sleep=lambda _: None))


CALLS: dict[str, tuple[Callable[[RunPodClient], Any], Reply, tuple[str, str, dict[str, str]]]] = {
    "gpus": (
        lambda c: c.gpus(product="POD", count=2, cloud="SECURE", min_cuda_version="13.0"),
        said({"gpus": []}),
        (
            "GET",
            "/v2/catalog/gpus",
            {"include": "AVAILABILITY", "product": "POD", "count": "2", "cloud": "SECURE", "minCudaVersion": "13.0"},
        ),
    ),
    "gpus for serverless": (
        lambda c: c.gpus(product="SERVERLESS", count=1),
        said({"gpus": []}),
        ("GET", "/v2/catalog/gpus", {"include": "AVAILABILITY", "product": "SERVERLESS", "count": "1"}),
    ),
    "pods": (lambda c: c.pods(), said({"pods": []}), ("GET", "/v2/pods", {})),
    "pod": (lambda c: c.pod("p1"), said({"id": "p1"}), ("GET", "/v2/pods/p1", {})),
    "create_pod": (lambda c: c.create_pod(BODY), said({"id": "p1"}, 201), ("POST", "/v2/pods", {})),
    "delete_pod": (lambda c: c.delete_pod("p1"), Reply(204), ("DELETE", "/v2/pods/p1", {})),
    "endpoints": (lambda c: c.endpoints(), said({"endpoints": []}), ("GET", "/v2/serverless", {})),
    "endpoint": (lambda c: c.endpoint("e1"), said({"id": "e1"}), ("GET", "/v2/serverless/e1", {})),
    "create_endpoint": (lambda c: c.create_endpoint(BODY), said({"id": "e1"}, 201), ("POST", "/v2/serverless", {})),
    "delete_endpoint": (lambda c: c.delete_endpoint("e1"), Reply(204), ("DELETE", "/v2/serverless/e1", {})),
    "workers": (lambda c: c.workers("e1"), said({"workers": []}), ("GET", "/v2/serverless/e1/workers", {})),
    "volumes": (lambda c: c.volumes(), said({"networkVolumes": []}), ("GET", "/v2/network-volumes", {})),
    "create_volume": (lambda c: c.create_volume(BODY), said({"id": "v1"}, 201), ("POST", "/v2/network-volumes", {})),
    "delete_volume": (lambda c: c.delete_volume("v1"), Reply(204), ("DELETE", "/v2/network-volumes/v1", {})),
    "pod_logs": (
        lambda c: list(c.pod_logs("p1", LogQuery(source="system", tail=7))),
        Reply(200, "", {"Content-Type": "text/event-stream"}),
        ("GET", "/v2/pods/p1/logs", {"source": "system", "tail": "7"}),
    ),
    "worker_logs": (
        lambda c: list(c.worker_logs("e1", "w1", LogQuery(since="2026-11-21T00:00:00Z"))),
        Reply(200, "", {"Content-Type": "text/event-stream"}),
        ("GET", "/v2/serverless/e1/workers/w1/logs", {"since": "2026-11-21T00:00:00Z"}),
    ),
}


@pytest.mark.parametrize(("call", "reply", "sent"), CALLS.values(), ids=CALLS)
def test_every_route_is_asked_as_documented(
    call: Callable[[RunPodClient], Any], reply: Reply, sent: tuple[str, str, dict[str, str]]
) -> None:
    with ScriptedServer(reply) as cloud:
        call(client(cloud))
    asked = cloud.asked[0]
    assert (asked.method, asked.path, asked.query) == sent
    assert asked.headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert asked.headers["user-agent"].startswith("gpu-cli/")


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("delete")])
def test_a_bad_key_is_refused_on_every_route(name: str) -> None:
    with ScriptedServer(problem(401, "missing bearer token")) as cloud, pytest.raises(AuthError):
        CALLS[name][0](client(cloud))


def test_an_id_cannot_reach_another_route() -> None:
    with ScriptedServer(problem(404, "pod not found")) as cloud, pytest.raises(NotFound):
        client(cloud).pod("../serverless?x=")
    assert cloud.asked[0].path == "/v2/pods/..%2Fserverless%3Fx%3D"


# Lists


@pytest.mark.parametrize("answer", [{"pods": [{"id": "a"}, {"id": "b"}]}, [{"id": "a"}, {"id": "b"}]])
def test_a_list_may_be_wrapped_or_bare(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud:
        assert client(cloud).pods() == [{"id": "a"}, {"id": "b"}]


def test_an_empty_list_may_be_null() -> None:
    with ScriptedServer(said({"pods": None})) as cloud:
        assert client(cloud).pods() == []


@pytest.mark.parametrize("answer", [{}, {"pods": {}}, {"pods": "x"}, {"items": []}, "x", 7, {"pods": [{"id": "a"}, 7]}])
def test_an_answer_without_the_list_is_not_an_empty_list(answer: object) -> None:
    with ScriptedServer(said(answer)) as cloud, pytest.raises(ProviderUnavailable, match="no list of pods"):
        client(cloud).pods()


@pytest.mark.parametrize("name", ["gpus", "pods", "endpoints", "volumes"])
def test_a_list_that_is_not_there_is_a_wrong_address_not_a_thing_that_is_gone(name: str) -> None:
    with ScriptedServer(problem(404, "resource not found")) as cloud, pytest.raises(ProviderUnavailable) as caught:
        CALLS[name][0](client(cloud))
    assert "GPU_RUNPOD_API_URL" in caught.value.hint


def test_the_workers_of_an_endpoint_that_is_gone_are_not_found() -> None:
    with ScriptedServer(problem(404, "endpoint not found")) as cloud, pytest.raises(NotFound):
        client(cloud).workers("e1")


def test_every_page_of_a_list_is_read() -> None:
    pages = [
        said({"pods": [{"id": "a"}], "pagination": {"nextCursor": "c1", "hasNextPage": True}}),
        said({"pods": [{"id": "b"}], "pagination": {"nextCursor": "c2"}}),
        said({"pods": [{"id": "c"}], "pagination": {"nextCursor": None, "hasNextPage": False}}),
    ]
    with ScriptedServer(*pages) as cloud:
        assert [pod["id"] for pod in client(cloud).pods()] == ["a", "b", "c"]
    assert [asked.query.get("cursor") for asked in cloud.asked] == [None, "c1", "c2"]


def test_a_list_that_is_not_whole_is_none() -> None:
    page = said({"pods": [{"id": "a"}], "pagination": {"hasNextPage": True}})
    with ScriptedServer(page) as cloud, pytest.raises(ProviderUnavailable, match="more pages"):
        client(cloud).pods()


def test_a_list_that_does_not_end_is_none() -> None:
    page = said({"pods": [{"id": "a"}], "pagination": {"nextCursor": "again", "hasNextPage": True}})
    with ScriptedServer(page, page) as cloud, pytest.raises(ProviderUnavailable, match="does not end"):
        client(cloud).pods()


# Creating


@pytest.mark.parametrize(
    "outcome",
    [
        RESET,
        problem(500, "internal error"),
        Reply(502, "<html>", {"Content-Type": "text/html"}),
        Reply(524, "<html>", {"Content-Type": "text/html"}),
        Reply(500, '{"error": "create pod: Something went wrong.", "status": 500}'),
        problem(408, "request timeout"),
        problem(409, "name is taken"),
        PAGE,
        Reply(201, '{"id": "p1", "na', {"Content-Type": "application/json"}),
        Reply(201, '{"id": "p1"}', {"Content-Type": "application/json"}, cut=5),
        Reply(201, ""),
        said({"name": "gpu-x-12345678"}, 201),
        said({"id": None}, 201),
        said([], 201),
    ],
    ids=["reset", "500", "502", "524", "500 of v1", "408", "409", "web page", "truncated JSON", "broken off", "empty",
         "without id", "id null", "list"],
)  # fmt: skip
@pytest.mark.parametrize("create", ["create_pod", "create_endpoint", "create_volume"])
def test_a_create_may_have_worked_after(create: str, outcome: Reply) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(CreateUnknown) as caught:
        getattr(client(cloud), create)(BODY)
    assert len(cloud.asked) == 1, "a create must never be sent twice"
    assert "look for its name" in caught.value.hint


REFUSED = {
    "no capacity": (problem(400, "There are no longer any instances available"), NoCapacity),
    "rule": (problem(400, "request could not be processed"), InvalidRequest),
    "key": (problem(401, "missing bearer token"), AuthError),
    "money": (problem(402, "Insufficient balance"), InsufficientFunds),
    "permission": (problem(403, "access denied"), AuthError),
    "edge": (Reply(403, "error code: 1010"), ProviderUnavailable),
    "retired": (Reply(410, ""), ProviderUnavailable),
    "schema": (problem(422, "Request validation failed."), InvalidRequest),
    "volume": (problem(404, "network volume not found"), InvalidRequest),
    "busy": (Reply(429, headers={"Retry-After": "7"}), RateLimited),
    "redirect": (Reply(302), ProviderUnavailable),
}


@pytest.mark.parametrize(("outcome", "error"), REFUSED.values(), ids=REFUSED)
def test_a_create_that_was_refused_has_made_nothing(outcome: Reply, error: type[ProviderError]) -> None:
    with ScriptedServer(outcome) as cloud, pytest.raises(error):
        client(cloud).create_pod(BODY)
    assert len(cloud.asked) == 1


def test_a_create_that_found_nobody_has_made_nothing() -> None:
    with pytest.raises(ProviderUnavailable, match="no connection"):
        client("http://127.0.0.1:9/v2").create_pod(BODY)


def test_a_refusal_that_quotes_the_secrets_that_were_sent_is_masked() -> None:
    echo = problem(422, "Request validation failed.", errors=[f"$.env: 'hf_abcdefghijkl' by {KEY.reveal()} at 8000"])
    with ScriptedServer(echo) as cloud, pytest.raises(InvalidRequest) as caught:
        client(cloud).create_pod(BODY)
    assert "$.env: '***' by *** at 8000" in caught.value.message


# Deleting


@pytest.mark.parametrize("delete", ["delete_pod", "delete_endpoint", "delete_volume"])
@pytest.mark.parametrize("reply", [Reply(204), said({}), problem(404, "not found")], ids=["204", "200", "404"])
def test_deleting_what_is_gone_is_success(delete: str, reply: Reply) -> None:
    with ScriptedServer(reply) as cloud:
        getattr(client(cloud), delete)("x1")


def test_a_delete_that_says_500_is_sent_again() -> None:
    with ScriptedServer(problem(500, "internal error"), problem(404, "pod not found")) as cloud:
        client(cloud).delete_pod("p1")


@pytest.mark.parametrize(
    "reply", [PAGE, Reply(404, "<html>", {"Content-Type": "text/html"}), Reply(404)], ids=["200", "404", "empty 404"]
)
def test_what_anybody_may_answer_is_no_word_that_a_pod_is_gone(reply: Reply) -> None:
    times = 3 if reply.status == 200 else 1
    with ScriptedServer(*[reply] * times) as cloud, pytest.raises(ProviderUnavailable):
        client(cloud).delete_pod("p1")


def test_a_locked_pod_is_unlocked_and_deleted() -> None:
    with ScriptedServer(problem(409, "pod is locked"), said({"id": "p1", "locked": False}), Reply(204)) as cloud:
        client(cloud).delete_pod("p1")
    assert [(asked.method, asked.path, asked.body) for asked in cloud.asked] == [
        ("DELETE", "/v2/pods/p1", None),
        ("PATCH", "/v2/pods/p1", {"locked": False}),
        ("DELETE", "/v2/pods/p1", None),
    ]


def test_a_pod_that_goes_while_it_is_unlocked_is_gone() -> None:
    with ScriptedServer(problem(409, "pod is locked"), problem(404, "pod not found")) as cloud:
        client(cloud).delete_pod("p1")


def test_a_pod_that_stays_in_conflict_is_not_gone() -> None:
    conflict = problem(409, "pod belongs to a cluster")
    with ScriptedServer(conflict, said({}), conflict) as cloud, pytest.raises(ProviderUnavailable, match="cluster"):
        client(cloud).delete_pod("p1")


# Balance


def test_the_balance_is_asked_of_the_sibling_of_the_api() -> None:
    with ScriptedServer(said({"data": {"myself": {"clientBalance": "12.5"}}})) as cloud:
        assert client(cloud).balance_usd() == 12.5
    assert cloud.asked[0].path == "/graphql"
    assert "clientBalance" in cloud.asked[0].body["query"]


@pytest.mark.parametrize(
    "reply",
    [said({"data": {"myself": None}}), said({"data": None, "errors": [{"message": "x"}]}), said([]), said(None),
     said({"data": {"myself": {"clientBalance": None}}}), Reply(401), Reply(410), Reply(429), Reply(500), PAGE, RESET],
    ids=["no key", "errors", "list", "null", "no figure", "401", "410", "429", "500", "page", "reset"],
)  # fmt: skip
def test_a_balance_that_cannot_be_had_is_none(reply: Reply) -> None:
    with ScriptedServer(reply) as cloud:
        assert client(cloud).balance_usd() is None


# Logs


def event(number: int, line: str, source: str = "container") -> str:
    ts = f"2026-11-21T12:00:{number:02}.123456789Z"
    return f"id: {ts}/{number:012}\ndata: {json.dumps({'ts': ts, 'source': source, 'line': line})}\n\n"


def stream(text: str, stay_s: float = 30.0, **more: Any) -> Reply:
    return Reply(200, text, {"Content-Type": "text/event-stream"}, stay_s=stay_s, **more)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "QUIET_S", 0.3)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "QUIET_S", 30.0)


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "event-stream"]


def test_a_log_line_says_when_who_and_what() -> None:
    with ScriptedServer(stream(event(1, "loaded: 100%") + event(2, "start container", "system"), stay_s=0)) as cloud:
        lines = list(client(cloud).pod_logs("p1", LogQuery()))
    assert lines == [
        LogLine("2026-11-21T12:00:01.123456789Z", "container", "loaded: 100%"),
        LogLine("2026-11-21T12:00:02.123456789Z", "system", "start container"),
    ]


def test_a_stream_without_end_is_left_when_its_backlog_has_been_read(hasty: None) -> None:
    began = time.monotonic()
    with ScriptedServer(stream(event(1, "a") + event(2, "b"))) as cloud:
        assert [line.line for line in client(cloud).pod_logs("p1", LogQuery())] == ["a", "b"]
    assert time.monotonic() - began < 15


def test_a_keepalive_is_the_end_of_the_backlog(patient: None) -> None:
    began = time.monotonic()
    with ScriptedServer(stream(event(1, "a") + ": keepalive\n\n")) as cloud:
        assert [line.line for line in client(cloud).pod_logs("p1", LogQuery())] == ["a"]
    assert time.monotonic() - began < 15


def test_a_log_that_goes_on_ends_with_the_lines_that_were_asked_for(patient: None) -> None:
    began = time.monotonic()
    with ScriptedServer(stream("".join(event(number, str(number)) for number in range(5)))) as cloud:
        assert [line.line for line in client(cloud).pod_logs("p1", LogQuery(tail=3))] == ["0", "1", "2"]
    assert time.monotonic() - began < 15


def test_a_silent_stream_is_left(hasty: None) -> None:
    with ScriptedServer(stream("")) as cloud:
        assert list(client(cloud).pod_logs("p1", LogQuery())) == []


def test_a_log_that_is_slow_to_be_opened_is_waited_for(hasty: None) -> None:
    with ScriptedServer(stream(event(1, "a"), delay_s=0.6)) as cloud:
        assert [line.line for line in client(cloud).pod_logs("p1", LogQuery())] == ["a"]


def test_a_log_that_is_not_even_opened_is_given_up_after_the_time_to_read() -> None:
    began = time.monotonic()
    with ScriptedServer(stream("", delay_s=30)) as cloud, pytest.raises(ProviderUnavailable, match="no answer in time"):
        list(client(cloud).pod_logs("p1", LogQuery(read_s=0.3)))
    assert time.monotonic() - began < 15


def test_a_log_that_was_left_leaves_no_connection_behind(hasty: None) -> None:
    with ScriptedServer(stream(event(1, "a"))) as cloud:
        list(client(cloud).pod_logs("p1", LogQuery()))
        deadline = time.monotonic() + 20
        while listeners() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert listeners() == []


def test_following_goes_on_until_stop(hasty: None) -> None:
    seen: list[str] = []
    with ScriptedServer(stream(event(1, "a") + ": keepalive\n\n" + event(2, "b"))) as cloud:
        query = LogQuery(follow=True, stop=lambda: len(seen) == 2)
        seen.extend(line.line for line in client(cloud).pod_logs("p1", query))
    assert seen == ["a", "b"]


def test_following_resumes_a_stream_that_ended_where_it_was() -> None:
    seen: list[str] = []
    broken = stream(event(1, "a") + event(2, "b"), stay_s=0)
    with ScriptedServer(broken, RESET, stream(event(2, "b") + event(3, "c"))) as cloud:
        query = LogQuery(follow=True, stop=lambda: len(seen) == 3)
        seen.extend(line.line for line in client(cloud).pod_logs("p1", query))
    assert seen == ["a", "b", "c"]
    last = "2026-11-21T12:00:02.123456789Z/000000000002"
    assert [asked.headers.get("last-event-id") for asked in cloud.asked] == [None, last, last]


def test_following_ends_when_the_pod_is_gone() -> None:
    lines = []
    with (
        ScriptedServer(stream(event(1, "a"), stay_s=0), problem(404, "pod not found")) as cloud,
        pytest.raises(NotFound),
    ):
        lines.extend(client(cloud).pod_logs("p1", LogQuery(follow=True)))


def test_following_a_cloud_that_stays_away_is_given_up() -> None:
    replies = [RESET] * (log_lines.FAILURES + 1)
    with ScriptedServer(*replies) as cloud, pytest.raises(ProviderUnavailable):
        list(client(cloud).pod_logs("p1", LogQuery(follow=True)))


def test_a_log_of_a_pod_that_is_gone_is_not_found() -> None:
    with ScriptedServer(problem(404, "pod not found")) as cloud, pytest.raises(NotFound):
        list(client(cloud).pod_logs("p1", LogQuery()))


def test_a_web_page_is_not_a_log_without_lines() -> None:
    with ScriptedServer(PAGE) as cloud, pytest.raises(ProviderUnavailable, match="not one of RunPod's API"):
        list(client(cloud).pod_logs("p1", LogQuery()))


def test_a_log_cannot_be_asked_for_more_lines_than_runpod_gives() -> None:
    with ScriptedServer(stream("", stay_s=0)) as cloud:
        list(client(cloud).pod_logs("p1", LogQuery(tail=100_000)))
    assert cloud.asked[0].query == {"tail": "5000"}


def test_an_event_that_is_no_json_is_a_line_all_the_same() -> None:
    text = "id: 2026-11-21T12:00:01Z/1\ndata: plain text\n\ndata: two\ndata: parts\n\n"
    with ScriptedServer(stream(text, stay_s=0)) as cloud:
        lines = list(client(cloud).pod_logs("p1", LogQuery()))
    assert lines[0] == LogLine("2026-11-21T12:00:01Z", "", "plain text")
    assert lines[1].line == "two\nparts"


# Values


@pytest.mark.parametrize(
    ("value", "read"),
    [(0.74, 0.74), ("0.74", 0.74), (" 3 ", 3.0), (0, 0.0), (None, None), ("", None), ("free", None), (True, None),
     ([1], None), ("nan", None), (float("inf"), None), (10**400, None)],
)  # fmt: skip
def test_a_number_may_be_written_as_text(value: object, read: float | None) -> None:
    assert values.number(value) == read


@pytest.mark.parametrize(
    "text",
    ["2026-08-20T06:16:19.436Z", "2026-08-20T06:16:19.436000000Z", "2026-08-20T08:16:19.436+02:00",
     "2026-08-20 06:16:19.436 +0000 UTC", "2026-08-20 08:16:19.436 +0200 CEST", "2026-08-20T06:16:19.436"],
)  # fmt: skip
def test_a_moment_is_read_in_every_form_that_runpod_writes(text: str) -> None:
    found = values.moment(text)
    assert found is not None
    assert found.isoformat() == "2026-08-20T06:16:19.436000+00:00"


@given(st.text() | st.none() | st.integers() | st.datetimes().map(str))
def test_nothing_that_stands_for_a_moment_breaks_the_reading(value: object) -> None:
    found = values.moment(value)
    assert found is None or found.tzinfo is not None


def test_the_provider_loads_without_the_http_library() -> None:
    code = "import sys, gpu_providers.runpod.client; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
