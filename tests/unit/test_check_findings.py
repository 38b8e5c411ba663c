"""What checks say of what they find, and how they behave towards a server that fails."""

# ruff: noqa: ARG002 - a server is given more than some of these look at

import time
from pathlib import Path
from typing import Any

import openai
import pytest
from broken_server import CONTEXT_TOKENS, MODEL, BrokenServer, Document, Refused, call, serving
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.check import closed, run, target
from gpu_cli.check.context import Ruler
from gpu_cli.check.finding import Broken, Finding, Outcome, Skipped
from gpu_cli.check.load import Span, most_at_once
from gpu_cli.check.promises import MOST_AT_ONCE, Promises, promises_of
from gpu_cli.check.run import CHECKS, run_checks
from gpu_cli.check.target import Target, reached, text_of
from gpu_cli.errors import UserError
from gpu_cli.recipe.files import load_recipe
from gpu_providers.base import Secret

KEY = "sk-secret"
TOOLS = Promises(recipe="tiny", context_tokens=CONTEXT_TOKENS, tools=True)


@pytest.fixture(autouse=True)
def few_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setattr(closed, "UNLISTED", ("/invocations", "/v1/models/"))


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`only("stop", ...)`: no other checks are run."""

    def choose(*check_ids: str) -> None:
        monkeypatch.setattr(run, "CHECKS", [check for check in CHECKS if check.check_id in check_ids])

    return choose


def found(server: BrokenServer, promises: Promises = TOOLS, *, repeat: int = 3) -> dict[str, Finding]:
    with (
        serving(server) as base_url,
        reached(base_url, Secret(KEY), MODEL, promises, repeat=repeat) as there,
    ):
        return {finding.check_id: finding for finding in run_checks(there)}


def target_at(base_url: str, promises: Promises = TOOLS) -> Target:
    return Target(base_url, Secret(KEY), MODEL, promises, openai.OpenAI(api_key=KEY, base_url=base_url))


class Forgetful(BrokenServer):
    """It knows the name of its tool for most cities."""

    def _calls(self, request: Document, question: str) -> list[Document]:
        calls = super()._calls(request, question)
        forgets = "Oslo" in question and "tool_choice" not in request
        return [call("oslo_weather", "Oslo", 0)] if forgets else calls


class Reluctant(BrokenServer):
    """It does not always see that a tool is wanted, and sees it where none is."""

    def _calls(self, request: Document, question: str) -> list[Document]:
        if "2 + 2" in question:
            return [call("get_time", "Oslo", 0)]
        return [] if "Oslo" in question else super()._calls(request, question)


class Bare(BrokenServer):
    """Its model only goes on with what is written."""

    def _said(self, request: Document) -> Document:
        raise Refused(400, {"error": {"message": "default chat template is no longer allowed"}})


class Busy(BrokenServer):
    """It has had enough for today."""

    def _said(self, request: Document) -> Document:
        raise Refused(429, {"error": {"message": "rate limit"}})


class Elsewhere(BrokenServer):
    """Somebody else's: it lists models to anybody, and its newest take other names; it remembers what came."""

    def __init__(self) -> None:
        super().__init__()
        self.unkeyed: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (b"authorization", f"Bearer {KEY}".encode()) not in scope["headers"]:
            self.unkeyed.append((scope["method"], scope["path"]))
        await super().__call__(scope, receive, send)

    def _models(self) -> list[Document]:
        return [{**about, "owned_by": "somebody", "max_model_len": None} for about in super()._models()]

    def _prompt_tokens(self, request: Document) -> int:
        if refused := {"max_tokens", "temperature"} & request.keys():
            message = f"Unsupported parameter: {min(refused)}. Use 'max_completion_tokens' instead."
            raise Refused(400, {"error": {"message": message}})
        request["max_tokens"] = request["max_completion_tokens"] // 100
        return super()._prompt_tokens(request)

    def _counted(self, request: Document) -> Document:
        return {**super()._counted(request), "finish_reason": "stop"}


class Hung(BrokenServer):
    """It takes chats, and says nothing."""

    def _said(self, request: Document) -> Document:
        time.sleep(0.4)
        return super()._said(request)


class OneAtATime(BrokenServer):
    """It asks for one city, and for the next one later."""

    def _calls(self, request: Document, question: str) -> list[Document]:
        return super()._calls(request, question)[:1]


class Talkative(BrokenServer):
    """It repeats what it was sent, and paints it."""

    def _said(self, request: Document) -> Document:
        raise Refused(400, {"error": {"message": f"\x1b[31myou sent\n{KEY}"}})


class Several(BrokenServer):
    """It serves two models."""

    def _models(self) -> list[Document]:
        return [{**about, "id": name} for about in super()._models() for name in ("one", "two")]


class Mortal(BrokenServer):
    """It hangs up on whoever asks for JSON, and on all who come after that."""

    dead = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.dead:
            raise ConnectionResetError
        await super().__call__(scope, receive, send)

    def _document(self, kind: str) -> str:
        self.dead = True
        raise ConnectionResetError


class Open(BrokenServer):
    """To everybody; it remembers what came."""

    def __init__(self) -> None:
        super().__init__("open-spelling", "open-route")
        self.posted: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            self.posted.append(scope["path"])
        await super().__call__(scope, receive, send)


def test_the_share_of_right_calls_is_told_and_an_invented_tool_by_its_name(only: Any) -> None:
    only("tool-call", "tool-call-stream", "tool-call-forced")
    findings = found(Forgetful())
    invented = "2/3: it called 'oslo_weather', which is no tool that it was offered"
    assert findings["tool-call"].detail == findings["tool-call-stream"].detail == invented
    assert (findings["tool-call-forced"].outcome, findings["tool-call-forced"].detail) == (Outcome.OK, "3/3")


def test_a_model_that_calls_now_and_then_does_what_it_can_and_the_share_is_told(only: Any) -> None:
    only("tool-call", "tool-call-stream", "tool-call-needless")
    findings = found(Reluctant())
    assert findings["tool-call"].detail == findings["tool-call-stream"].detail == "2/3: it called no tool"
    assert findings["tool-call-needless"].detail == "0/3: it called get_time for 2 + 2"
    assert [one.outcome for one in findings.values()] == [Outcome.OK, Outcome.OK, Outcome.CANNOT]


def test_a_model_without_a_chat_template_cannot_chat(only: Any) -> None:
    only("models", "chat", "stream", "stop")
    findings = found(Bare())
    assert [one.outcome for one in findings.values()] == [Outcome.OK, *[Outcome.CANNOT] * 3]
    assert "no chat template" in findings["stream"].detail


@pytest.mark.parametrize(("promises", "outcome"), [(Promises(), Outcome.SKIPPED), (TOOLS, Outcome.FAILED)])
def test_too_many_requests_tell_nothing_of_an_endpoint_that_promises_none(
    promises: Promises, outcome: Outcome, only: Any
) -> None:
    only("chat", "stream")
    assert [one.outcome for one in found(Busy(), promises).values()] == [outcome] * 2


def test_somebody_elses_api_is_asked_in_its_words_and_little_without_the_key(only: Any) -> None:
    only("models", "closed-routes", "chat", "stream", "stop", "json-mode")
    server = Elsewhere()
    findings = found(server, Promises())
    assert {one.outcome for one in findings.values()} == {Outcome.OK}, findings
    assert set(server.unkeyed) == {("POST", "/v1/chat/completions"), ("POST", "/v1/completions")}
    assert len(server.unkeyed) == 12


def test_an_endpoint_that_hangs_is_waited_for_once(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    only("chat", "stream", "json-mode")
    monkeypatch.setattr(target, "REQUEST_TIMEOUT_S", 0.2)
    monkeypatch.setattr(target, "ALIVE_TIMEOUT_S", 0.1)
    findings = found(Hung())
    assert [one.outcome for one in findings.values()] == [Outcome.FAILED, Outcome.SKIPPED, Outcome.SKIPPED]
    assert findings["chat"].detail == "no answer came in time"


def test_what_an_edge_says_for_itself_opens_nothing_and_what_a_route_says_of_a_request_does() -> None:
    with serving(BrokenServer()) as base_url:
        ours, other = target_at(base_url), target_at(base_url, Promises())
    statuses = (200, 302, 400, 401, 404, 422, 429, 500, 502, 524)
    assert [status for status in statuses if not closed.is_refusal(ours, status)] == [200, 302, 400, 422, 500]
    assert [status for status in statuses if not closed.is_refusal(other, status)] == [200, 302]


def test_a_model_that_makes_one_call_at_a_time_cannot_do_more_and_breaks_no_promise(only: Any) -> None:
    only("tool-call", "tool-calls-parallel")
    findings = found(OneAtATime())
    assert [one.outcome for one in findings.values()] == [Outcome.OK, Outcome.CANNOT]


def test_what_no_recipe_promises_cannot_fail(only: Any) -> None:
    only("reasoning", "tool-call", "tool-call-needless", "context", "stop")
    faults = ("thoughts-in-the-answer", "invented-tool", "needless-call", "short-context", "stop-ignored")
    findings = found(BrokenServer(*faults), Promises())
    outcomes = {check_id: (one.promised, one.outcome) for check_id, one in findings.items()}
    assert outcomes.pop("stop") == (True, Outcome.FAILED)
    assert set(outcomes.values()) == {(False, Outcome.CANNOT)}


def test_what_a_server_says_is_told_on_one_line_without_the_key_or_what_steers_a_terminal(only: Any) -> None:
    only("chat", "stream")
    for finding in found(Talkative()).values():
        assert finding.detail == "it answers 400: [31myou sent ***"


def test_once_nobody_answers_any_more_the_rest_is_skipped(only: Any) -> None:
    only("chat", "json-mode", "json-schema", "logprobs")
    findings = found(Mortal())
    assert [one.outcome for one in findings.values()] == [
        Outcome.OK, Outcome.OK, Outcome.FAILED, Outcome.SKIPPED,
    ]  # fmt: skip


def test_nothing_that_could_change_a_server_is_sent_to_one_that_is_open() -> None:
    server = Open()
    with serving(server) as base_url, pytest.raises(Broken, match=r"GET /v1/models/ \(200\)"):
        closed.refuses_without_the_key(target_at(base_url))
    assert server.posted == []


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://host/v1", "TLS"),
        ("http://127.0.0.1:8000/v1", "loopback"),
        ("http://[::1]:8000/v1", "loopback"),
        ("http://localhost/v1", "loopback"),
        ("http://10.0.0.1/v1", Broken),
        ("http://127.0.0.1.example.com/v1", Broken),
    ],
)
def test_the_way_is_private_by_tls_or_on_this_machine(base_url: str, expected: str | type[Exception]) -> None:
    if isinstance(expected, str):
        assert closed.is_private_on_the_way(target_at(base_url)) == expected
        return
    with pytest.raises(expected):
        closed.is_private_on_the_way(target_at(base_url))
    with pytest.raises(Skipped):
        closed.is_private_on_the_way(target_at(base_url, Promises(plain_http=True)))


def test_a_key_that_is_refused_is_told_before_anything_is_checked() -> None:
    with (
        serving(BrokenServer()) as base_url,
        pytest.raises(UserError) as refused,
        reached(base_url, Secret("sk-wrong"), None, TOOLS, repeat=1),
    ):
        pytest.fail("it was let in")
    assert refused.value.code == "key-refused"


def test_the_only_model_is_meant_and_of_several_one_has_to_be_named() -> None:
    with serving(BrokenServer()) as base_url, reached(base_url, Secret(KEY), None, TOOLS, repeat=1) as there:
        assert (there.model, there.served_context_tokens) == (MODEL, CONTEXT_TOKENS)
    with (
        serving(Several()) as base_url,
        pytest.raises(UserError, match="serves 2 models: one, two"),
        reached(base_url, Secret(KEY), None, TOOLS, repeat=1),
    ):
        pytest.fail("it took one of them")


@pytest.mark.parametrize("concurrency", [3, 1000])
def test_a_recipe_promises_what_it_says_and_no_load_test(concurrency: int, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"model: a/b\ncontext: 4096\nconcurrency: {concurrency}\ntool_call_parser: hermes\n")
    promises = promises_of(load_recipe(path))
    assert promises == Promises("mine", 4096, min(concurrency, MOST_AT_ONCE), tools=True, reasoning=False)


SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: Span(min(pair), max(pair))))


@given(SPANS.filter(bool))
def test_as_many_are_at_once_as_share_a_moment(spans: list[Span]) -> None:
    assert most_at_once(spans) == max(
        sum(span.first_at <= moment <= span.last_at for span in spans) for moment in range(51)
    )


@given(st.integers(1, 10**6), st.integers(0, 500), st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_a_prompt_measured_by_the_ruler_is_as_long_as_it_may_be_and_no_longer(
    tokens: int, frame: int, per_word: float
) -> None:
    words = Ruler(per_word, frame).words_within(tokens + frame)
    assert words * per_word + frame <= tokens + frame < (words + 1) * per_word + frame


def test_text_is_thoughts_and_answer_each_once() -> None:
    class Said:
        reasoning = reasoning_content = "hmm "
        content = "9.9"

    assert text_of(Said()) == "hmm 9.9"
