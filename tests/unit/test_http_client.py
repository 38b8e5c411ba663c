"""The HTTP client of all clouds, over real connections."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from scripted_server import PAGE, RESET, Reply, ScriptedServer, said

from gpu_providers import http
from gpu_providers.base import Secret
from gpu_providers.errors import ProviderUnavailable, RateLimited
from gpu_providers.http import Answer, Http, OutcomeUnknown, Request, TooManyRequests

KEY = Secret("rpa_0123456789abcdef")


@dataclass
class Time:
    """Sleeping takes no time here, but passes it."""

    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def passing() -> Time:
    return Time()


@pytest.fixture
def client(passing: Time) -> Http:
    return Http(clock=passing.clock, sleep=passing.sleep)


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def get(url: str) -> Request:
    return Request("GET", url, KEY)


def post(url: str) -> Request:
    return Request("POST", url, KEY, body={"name": "gpu-x"})


def test_a_request_carries_our_name_the_key_and_json(client: Http) -> None:
    with ScriptedServer(said({"ok": True})) as cloud:
        request = Request("POST", f"{cloud.url}/v2/pods", KEY, {"page": "1"}, {"X-More": "yes"}, {"n": 1})
        assert client.once(request).json() == {"ok": True}
    asked = cloud.asked[0]
    assert (asked.method, asked.path, asked.query, asked.body) == ("POST", "/v2/pods", {"page": "1"}, {"n": 1})
    assert asked.headers["user-agent"].startswith("gpu-cli/")
    assert asked.headers["authorization"] == f"Bearer {KEY.reveal()}"
    assert asked.headers["x-more"] == "yes"
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(500),
        Reply(503, "<html>", {"Content-Type": "text/html"}),
        RESET,
        PAGE,
        Reply(200, '{"pods": [{"id": "a', {"Content-Type": "application/json"}),
        Reply(200, '{"pods": []}', {"Content-Type": "application/json"}, cut=4),
        Reply(429),
    ],
    ids=["500", "503 page", "reset", "web page", "truncated JSON", "broken off", "429"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_safe_request_is_tried_again_after(method: str, trouble: Reply, client: Http, passing: Time) -> None:
    with ScriptedServer(trouble, trouble, said({"pods": []})) as cloud:
        assert client.safely(Request(method, cloud.url, KEY)).json() == {"pods": []}
    assert passing.slept == list(http.PAUSES_S)


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 409, 422])
def test_a_settled_answer_is_not_asked_for_again(status: int, client: Http) -> None:
    with ScriptedServer(Reply(status)) as cloud:
        assert client.safely(get(cloud.url)).status == status
    assert len(cloud.asked) == 1


def test_a_cloud_that_stays_broken_is_given_up_with_its_last_word(client: Http) -> None:
    with ScriptedServer(Reply(500, "a"), Reply(500, "b"), Reply(502, "c")) as cloud:
        answer = client.safely(get(cloud.url))
    assert (answer.status, answer.text) == (502, "c")


@pytest.mark.parametrize("trouble", [Reply(500), Reply(503), Reply(429), RESET], ids=["500", "503", "429", "reset"])
def test_a_post_is_never_sent_twice(trouble: Reply, client: Http, passing: Time) -> None:
    with ScriptedServer(trouble) as cloud, contextlib.suppress(ProviderUnavailable, RateLimited):
        client.once(post(cloud.url))
    assert len(cloud.asked) == 1
    assert passing.slept == []


@pytest.mark.parametrize(
    "trouble",
    [RESET, Reply(201, '{"id": "x"}', cut=3), Reply(201, '{"id": "x"}', delay_s=5)],
    ids=["reset", "broken off", "timeout"],
)
def test_a_post_without_a_complete_answer_may_have_worked(trouble: Reply, client: Http) -> None:
    with ScriptedServer(trouble) as cloud, pytest.raises(OutcomeUnknown):
        client.once(post(cloud.url), call_s=0.3)


def test_a_post_that_finds_nobody_has_done_nothing(nobody: str, client: Http) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        client.once(post(nobody))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert "refused" in caught.value.message


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/v2", "no-url", "http://127.0.0.1:99999/", "ftp://x/"])
def test_a_wrong_address_has_done_nothing(url: str, client: Http) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        client.once(post(url))
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_network_that_is_down_is_given_up_within_the_bound(nobody: str, client: Http, passing: Time) -> None:
    began = passing.clock()
    with pytest.raises(ProviderUnavailable, match="no connection"):
        client.safely(get(nobody))
    assert passing.clock() - began < http.CALL_S


def test_a_silent_cloud_is_given_up_within_the_bound(client: Http, passing: Time) -> None:
    began = passing.clock()
    with ScriptedServer(*[Reply(delay_s=30)] * 1) as cloud, pytest.raises(ProviderUnavailable, match="no answer in"):
        client.safely(get(cloud.url), call_s=0.5)
    assert passing.clock() - began < 1.5


def test_an_answer_that_drips_is_given_up_within_the_bound(client: Http, passing: Time) -> None:
    with ScriptedServer(Reply(200, "{", stay_s=30)) as cloud, pytest.raises(OutcomeUnknown):
        client.safely(get(cloud.url), call_s=0.5)


def test_the_pause_that_a_cloud_asks_for_is_kept(client: Http, passing: Time) -> None:
    with ScriptedServer(Reply(429, headers={"Retry-After": "4"}), said([])) as cloud:
        assert client.safely(get(cloud.url)).json() == []
    assert passing.slept == [4.0]


def test_a_pause_longer_than_the_call_may_take_is_left_to_the_caller(client: Http, passing: Time) -> None:
    with ScriptedServer(Reply(429, headers={"Retry-After": "60"})) as cloud, pytest.raises(RateLimited) as caught:
        client.safely(get(cloud.url))
    assert caught.value.retry_after_s == 60
    assert "60 seconds" in caught.value.hint
    assert passing.slept == []


@pytest.mark.parametrize("said_so", [{}, {"Retry-After": "soon"}, {"Retry-After": "-1"}])
def test_a_429_that_does_not_say_for_how_long_asks_for_some_patience(said_so: dict[str, str], client: Http) -> None:
    with ScriptedServer(*[Reply(429, headers=said_so)] * 3) as cloud, pytest.raises(RateLimited) as caught:
        client.safely(get(cloud.url))
    assert caught.value.retry_after_s == http.PATIENCE_S


def test_a_429_comes_with_its_answer_for_its_cloud_to_read(client: Http) -> None:
    reply = Reply(429, "quota of today", {"X-RateLimit-Reset": "1795305600", "Retry-After": "60"})
    for send in (client.safely, client.once):
        with ScriptedServer(reply) as cloud, pytest.raises(TooManyRequests) as caught:
            send(get(cloud.url))
        assert caught.value.answer.text == "quota of today"
        assert caught.value.answer.headers["x-ratelimit-reset"] == "1795305600"


def test_a_cloud_may_have_its_own_way_to_say_how_long_to_wait(client: Http, passing: Time) -> None:
    with ScriptedServer(Reply(418), Reply(418, "last"), said([])) as cloud:
        pause_s = {"": 7.0, "last": 0.0, "[]": None}
        assert client.safely(get(cloud.url), pause_s=lambda answer: pause_s[answer.text]).json() == []
    assert passing.slept == [7.0, http.PAUSES_S[1]]


def test_a_cloud_may_say_that_asking_again_is_in_vain(client: Http, passing: Time) -> None:
    with ScriptedServer(Reply(429)) as cloud, pytest.raises(TooManyRequests):
        client.safely(get(cloud.url), pause_s=lambda _: None)
    assert passing.slept == []


def test_what_is_not_the_cloud_s_own_is_asked_without_a_key(client: Http) -> None:
    with ScriptedServer(said([])) as store:
        client.once(Request("GET", store.url, key=None))
    assert "authorization" not in store.asked[0].headers


def test_a_redirect_is_not_followed_so_the_key_stays_here(client: Http) -> None:
    with ScriptedServer() as elsewhere, ScriptedServer(Reply(307, headers={"Location": elsewhere.url})) as cloud:
        assert client.safely(get(cloud.url)).status == 307
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("reply", "what"),
    [(PAGE, "a web page"), (Reply(200, '{"a'), "broken JSON"), (Reply(200), "nothing")],
    ids=["web page", "truncated", "empty"],
)
def test_an_answer_that_is_no_json_says_what_it_is(reply: Reply, what: str, client: Http) -> None:
    with ScriptedServer(reply) as cloud:
        answer = client.once(get(f"{cloud.url}/v2/pods"))
    with pytest.raises(ProviderUnavailable, match=what) as caught:
        answer.json()
    assert "/v2/pods" in caught.value.message


@pytest.mark.parametrize("trouble", [RESET, PAGE, Reply(delay_s=3), Reply(429)], ids=["reset", "page", "silent", "429"])
def test_no_error_text_holds_a_key_a_query_or_a_body(trouble: Reply, client: Http) -> None:
    with ScriptedServer(trouble) as cloud:
        url = cloud.url.replace("http://", "http://me:secret-in-url@") + "/v2?token=secret-in-query"
        with pytest.raises((ProviderUnavailable, RateLimited)) as caught:
            client.once(Request("POST", url, KEY, body={"env": {"T": "secret-in-body"}}), call_s=0.3).json()
    text = f"{caught.value!r} {caught.value.hint}"
    assert "secret" not in text
    assert KEY.reveal() not in text


def test_a_key_that_no_header_can_hold_is_not_quoted(client: Http) -> None:
    with ScriptedServer() as cloud, pytest.raises(ProviderUnavailable) as caught:
        client.once(Request("GET", cloud.url, Secret("rpa_top\nsecret")))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"ALL_PROXY": "socks5://me:secret@127.0.0.1:1"},
        {"HTTPS_PROXY": "gopher://me:secret@127.0.0.1:1"},
        {"HTTP_PROXY": "http://me:secret@127.0.0.1:port"},
        {"SSL_CERT_FILE": "/nowhere/secret.pem"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_an_environment_that_cannot_be_used_is_no_crash_and_not_quoted(
    environ: dict[str, str], client: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProviderUnavailable, match="proxy or certificates") as caught:
        client.once(post("http://127.0.0.1:9/"))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert next(iter(environ)).replace("HTTP_", "HTTPS_") in caught.value.hint
    assert "secret" not in f"{caught.value!r}"


def test_what_is_sent_and_answered_shows_in_a_log_neither_key_nor_body() -> None:
    request = Request("POST", "http://x/", KEY, body={"env": {"HF_TOKEN": "hf_abcdefgh"}})
    document, headers = '{"env": {"HF_TOKEN": "hf_abcdefgh"}}', {"set-cookie": "hf_abcdefgh"}
    shown = repr(Answer(request, 201, "application/json", document, headers=headers))
    assert KEY.reveal() not in shown
    assert "hf_" not in shown
