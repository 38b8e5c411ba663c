"""The guard middleware: without the key nothing of the engine answers, whatever the route or protocol."""

import asyncio
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_middleware import GuardMiddleware, Message, Receive, Scope, Send

KEY = "sk-secret"
BEARER = [(b"authorization", b"Bearer sk-secret")]


class Engine:
    """An ASGI app that lets everything in and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.reached.append(scope["type"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"engine"})


class Conversation:
    """One connection through the guard: what the app got and what the client got."""

    def __init__(
        self,
        *,
        kind: str = "http",
        method: str = "GET",
        path: str = "/v1/models",
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self.engine = Engine()
        self.sent: list[Message] = []
        self.received = 0
        self.scope: dict[str, Any] = {"type": kind, "method": method, "path": path, "headers": list(headers)}
        asyncio.run(GuardMiddleware(self.engine)(self.scope, self.receive, self.send))

    async def receive(self) -> Message:
        self.received += 1
        return {"type": f"{self.scope['type']}.connect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def json(self) -> Any:
        return json.loads(self.sent[1]["body"])


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.delenv("GPU_SUPERVISOR_STATUS", raising=False)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/", "/health", "/metrics", "/docs", "/invocations", "/tokenize", "/v1/models", "/_gpu/supervisor"]
)
def test_no_route_answers_without_the_key(method: str, path: str) -> None:
    refused = Conversation(method=method, path=path, headers=[])
    assert refused.status == 401
    assert refused.engine.reached == []


def test_refusal_looks_like_openai_and_says_how_to_authenticate() -> None:
    refused = Conversation(headers=[])
    assert refused.headers[b"www-authenticate"] == b"Bearer"
    assert refused.headers[b"content-type"] == b"application/json"
    assert int(refused.headers[b"content-length"]) == len(refused.sent[1]["body"])
    assert refused.json["error"]["code"] == "invalid_api_key"
    assert set(refused.json["error"]) == {"message", "type", "param", "code"}
    assert KEY not in str(refused.sent)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"sk-secret")],
        [(b"authorization", b"Basic sk-secret")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer sk-secre")],
        [(b"authorization", b"Bearer sk-secret2")],
        [(b"authorization", b"Bearer SK-SECRET")],
        [(b"authorization", b"Bearer sk-secret sk-secret")],
        [(b"authorization", b"Bearer \xff\xfe\x00")],
        [(b"authorization", "Bearer schlüssel".encode())],
        [(b"x-api-key", b"sk-secret")],
        [(b"authorization", b"Bearer wrong"), *BEARER],
        [*BEARER, (b"authorization", b"Bearer wrong")],
    ],
)
def test_anything_but_one_right_bearer_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    refused = Conversation(headers=headers)
    assert refused.status == 401
    assert refused.engine.reached == []


@pytest.mark.parametrize(
    "value", [b"Bearer sk-secret", b"bearer sk-secret", b"BEARER  sk-secret", b" Bearer sk-secret "]
)
def test_key_opens_every_route_and_its_scheme_has_no_case(value: bytes) -> None:
    passed = Conversation(path="/invocations", method="POST", headers=[(b"Authorization", value)])
    assert passed.engine.reached == ["http"]
    assert passed.sent[1]["body"] == b"engine"


@given(
    st.lists(
        st.tuples(st.binary(max_size=20), st.binary(max_size=40)) | st.tuples(st.just(b"authorization"), st.binary())
    )
)
def test_no_headers_without_the_key_get_in_or_cause_an_error(headers: list[tuple[bytes, bytes]]) -> None:
    refused = Conversation(headers=[(name, value.replace(KEY.encode(), b"")) for name, value in headers])
    assert refused.status == 401
    assert refused.engine.reached == []


def test_websocket_without_the_key_is_closed_before_it_is_accepted() -> None:
    refused = Conversation(kind="websocket", path="/v1/realtime", headers=[])
    assert [message["type"] for message in refused.sent] == ["websocket.close"]
    assert refused.received == 1
    assert refused.engine.reached == []


def test_websocket_with_the_key_reaches_the_engine() -> None:
    assert Conversation(kind="websocket", path="/_gpu/supervisor", headers=BEARER).engine.reached == ["websocket"]


def test_server_start_and_stop_pass_without_a_key() -> None:
    assert Conversation(kind="lifespan", headers=[]).engine.reached == ["lifespan"]


@pytest.mark.parametrize("key", [None, ""])
def test_engine_without_a_key_does_not_start(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY")
    if key is not None:
        monkeypatch.setenv("VLLM_API_KEY", key)
    with pytest.raises(RuntimeError, match="VLLM_API_KEY"):
        GuardMiddleware(Engine())


def test_supervisor_status_is_served_with_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status.json"
    status.write_text('{"version": 1, "phase": "serving"}')
    written_at = time.time() - 100
    os.utime(status, (written_at, written_at))
    monkeypatch.setenv("GPU_SUPERVISOR_STATUS", str(status))
    answer = Conversation(path="/_gpu/supervisor", headers=BEARER)
    assert answer.status == 200
    assert answer.json == {"version": 1, "phase": "serving", "beat_age_s": pytest.approx(100, abs=5)}
    assert answer.engine.reached == []


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00"])
def test_missing_or_broken_status_is_not_found(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status.json"
    if content is not None:
        status.write_text(content)
    monkeypatch.setenv("GPU_SUPERVISOR_STATUS", str(status))
    answer = Conversation(path="/_gpu/supervisor", headers=BEARER)
    assert answer.status == 404
    assert answer.json["error"]["code"] == "not_found"


def test_without_a_supervisor_its_status_is_not_found() -> None:
    assert Conversation(path="/_gpu/supervisor", headers=BEARER).status == 404
