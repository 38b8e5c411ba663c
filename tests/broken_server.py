"""An OpenAI server that behaves in every way that clients expect, but for the faults that it is given.

Its model is a few rules about words: it counts, calls tools for cities, and thinks about 9.11. It is an ASGI
application behind the real guard middleware, whose key is VLLM_API_KEY.
"""

import importlib.util
import json
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guard_middleware import GuardMiddleware

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Document = dict[str, Any]

MODEL = "tiny"
CONTEXT_TOKENS = 512
TOKEN_S = 0.004
"""Of a stream; other answers come at once."""
RUNS_ON_S = 3.0
"""What nobody reads any more, where it is not ended for that."""
FRAME_TOKENS = 10
"""What its chat template adds to each message."""
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
STUB = Path(__file__).parent / "stub_engine" / "vllm" / "entrypoints" / "openai" / "api_server.py"

_CALLS = {"tool-call", "tool-call-stream", "tool-calls-parallel"}
FAULTS: Mapping[str, Collection[str]] = {
    "lists-another-model": {"models"},
    "open-route": {"closed-routes"},
    "open-spelling": {"closed-routes"},
    "open-to-a-wrong-key": {"closed-routes"},
    "open-for-reading-to-a-wrong-key": {"closed-routes"},
    "open-websocket": {"closed-routes"},
    "open-to-half-a-key": {"closed-routes"},
    "open-to-other-case": {"closed-routes"},
    "no-usage": {"chat"},
    "usage-of-another-answer": {"chat"},
    "no-finish-reason": {"chat", "stop", "tool-call", "tool-calls-parallel"},
    "truncated-stream": {"stream"},
    "no-done": {"stream"},
    "stream-in-one-piece": {"stream"},
    "role-in-every-piece": {"stream"},
    "no-stream-usage": {"stream-usage"},
    "usage-so-far": {"stream-usage"},
    "stop-ignored": {"stop"},
    "stop-word-kept": {"stop"},
    "no-logprobs": {"logprobs"},
    "no-top-logprobs": {"logprobs"},
    "prose-for-json": {"json-mode"},
    "schema-ignored": {"json-schema"},
    "thoughts-in-the-answer": {"reasoning"},
    "invented-tool": _CALLS,
    "calls-as-text": {"tool-call", "tool-call-stream"},
    "broken-arguments": _CALLS,
    "arguments-as-object": _CALLS,
    "call-that-ends-for-stop": _CALLS,
    "calls-without-index": {"tool-call-stream"},
    "cut-arguments-in-streams": {"tool-call-stream"},
    "same-id": {"tool-calls-parallel"},
    "force-ignored": {"tool-call-forced"},
    "needless-call": {"tool-call-needless"},
    "serial": {"many-at-once"},
    "refuses-many": {"many-at-once"},
    "answers-mixed-up": {"many-at-once"},
    "cancelled-runs-on": {"cancelled-stream"},
    "short-context": {"context"},
    "prompt-cut-early": {"context"},
    "one-token-too-many": {"context-exceeded"},
    "long-prompt-cut": {"context-exceeded"},
    "long-prompt-500": {"context-exceeded"},
    "long-prompt-unexplained": {"context-exceeded"},
}
"""Ways in which real servers fail, and the checks that find each; all others hold."""


class Refused(Exception):
    """With this status, and this document."""

    def __init__(self, status: int, document: Document) -> None:
        super().__init__(status)
        self.status, self.document = status, document


class BrokenServer:
    """Every request may block its thread."""

    def __init__(self, *faults: str) -> None:
        assert set(faults) <= set(FAULTS), faults
        self._faults = faults
        self._guarded = GuardMiddleware(self._answer)
        self._running = 0
        self._latest_prompt_tokens = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        said = headers.get(b"authorization", b"").decode()
        upgrade = b"upgrade" in headers
        if self._is_open(scope["method"], scope["path"], said=said, upgrade=upgrade):
            await reply(send, 101 if upgrade else 200, {})
        else:
            await self._guarded(scope, receive, send)

    def _has(self, fault: str) -> bool:
        return fault in self._faults

    def _is_open(self, method: str, path: str, *, said: str, upgrade: bool) -> bool:
        key, right = said.removeprefix("Bearer "), os.environ["VLLM_API_KEY"]
        wrong = key == "sk-wrong"
        return (
            (self._has("open-route") and (method, path) == ("POST", "/invocations"))
            or (self._has("open-spelling") and path == "/v1/models/")
            or (self._has("open-to-a-wrong-key") and method == "POST" and wrong)
            or (self._has("open-for-reading-to-a-wrong-key") and method == "GET" and wrong)
            or (self._has("open-to-half-a-key") and key in right[:-1] and key != "")
            or (self._has("open-to-other-case") and key != right and key.lower() == right.lower())
            or (self._has("open-websocket") and upgrade)
        )

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/chat/completions":
            await self._chat(json.loads((await receive())["body"]), send)
        elif scope["path"] == "/v1/models":
            await reply(send, 200, {"object": "list", "data": self._models()})
        elif scope["path"] == "/openapi.json":
            await reply(send, 200, {"paths": {"/v1/chat/completions": {}, "/v1/files/{id}": {}}})
        elif scope["path"] == "/metrics":
            await send_start(send, 200, b"text/plain")
            await send({"type": "http.response.body", "body": self._metrics().encode()})
        else:
            await reply(send, 404, {"detail": "Not Found"})

    def _models(self) -> list[Document]:
        name = "another" if self._has("lists-another-model") else MODEL
        return [{"id": name, "object": "model", "owned_by": "vllm", "max_model_len": CONTEXT_TOKENS}]

    def _metrics(self) -> str:
        counters = ("request_success_total", "prompt_tokens_total", "generation_tokens_total", "num_requests_waiting")
        lines = [f"vllm:num_requests_running {self._running}", *(f"vllm:{name} 0" for name in counters)]
        return "".join(f"{line}\n" for line in lines)

    async def _chat(self, request: Document, send: Send) -> None:
        try:
            prompt_tokens = self._prompt_tokens(request)
            self._latest_prompt_tokens = prompt_tokens
            with self._slot(streams=bool(request.get("stream"))):
                said = self._said(request)
                if request.get("stream"):
                    await self._stream(send, request, said, prompt_tokens)
                else:
                    await reply(send, 200, self._whole(said, prompt_tokens))
        except Refused as refusal:
            await reply(send, refusal.status, refusal.document)

    @contextmanager
    def _slot(self, *, streams: bool) -> Iterator[None]:
        with self._lock:
            if self._has("refuses-many") and streams and self._running:
                raise Refused(429, {"error": {"message": "too many requests"}})
            self._running += 1
        try:
            if self._has("serial"):
                with self._turn:
                    yield
            else:
                yield
        finally:
            with self._lock:
                self._running -= 1

    def _prompt_tokens(self, request: Document) -> int:
        words = sum(FRAME_TOKENS + len(message["content"].split()) for message in request["messages"])
        context = CONTEXT_TOKENS * 3 // 4 if self._has("short-context") else CONTEXT_TOKENS
        if words + request["max_tokens"] <= context + self._has("one-token-too-many"):
            return min(words, CONTEXT_TOKENS * 3 // 4) if self._has("prompt-cut-early") else words
        if self._has("long-prompt-cut"):
            return CONTEXT_TOKENS - 1
        if self._has("long-prompt-500"):
            raise Refused(500, {"error": {"message": "Internal Server Error"}})
        if self._has("long-prompt-unexplained"):
            raise Refused(400, {"detail": "too long"})
        raise Refused(400, {"error": {"message": f"This model's maximum context length is {context} tokens."}})

    def _said(self, request: Document) -> Document:
        """The message, the reason why it ended, and how many tokens it has."""
        question = request["messages"][-1]["content"]
        if request.get("tools") and (calls := self._calls(request, question)):
            if self._has("calls-as-text") and request.get("tool_choice", "auto") == "auto":
                return spoken(f"<tool_call>{json.dumps(calls)}</tool_call>")
            ends = "stop" if self._has("call-that-ends-for-stop") else "tool_calls"
            return {**spoken(""), "tool_calls": calls, "finish_reason": ends}
        if response_format := request.get("response_format"):
            return spoken(self._document(response_format["type"]))
        if "9.11" in question:
            return self._thought(request)
        return self._counted(request)

    def _calls(self, request: Document, question: str) -> list[Document]:
        choice = request.get("tool_choice", "auto")
        cities = re.findall(r"in ([A-Z]\w+)", question)
        if choice == "none" and not self._has("needless-call"):
            return []
        if isinstance(choice, dict) and not self._has("force-ignored"):
            return [call(choice["function"]["name"], cities[0], 0)]
        if choice == "required" and not cities:
            return [call("get_weather", "Paris", 0)]
        name = "look_up_weather" if self._has("invented-tool") and choice == "auto" else "get_weather"
        broken = self._has("broken-arguments") or (self._has("cut-arguments-in-streams") and request.get("stream"))
        calls = [call(name, city, 0 if self._has("same-id") else place) for place, city in enumerate(cities)]
        for one in calls if broken else []:
            one["function"]["arguments"] = one["function"]["arguments"][:-2]
        for one in calls if self._has("arguments-as-object") else []:
            one["function"]["arguments"] = json.loads(one["function"]["arguments"])
        return calls

    def _document(self, kind: str) -> str:
        if self._has({"json_object": "prose-for-json", "json_schema": "schema-ignored"}[kind]):
            return "Paris is a city." if kind == "json_object" else '{"city": "London", "is_capital": true}'
        return json.dumps({"city": "Paris", "is_capital": True})

    def _thought(self, request: Document) -> Document:
        thoughts = "hmm " * min(5, request["max_tokens"])
        if self._has("thoughts-in-the-answer"):
            return spoken(f"<think>{thoughts}</think>9.9")
        return {**spoken("9.9"), "reasoning": thoughts}

    def _counted(self, request: Document) -> Document:
        """It would go on for ever."""
        words = [f"{NUMBERS[place % 10]} " for place in range(request["max_tokens"])]
        stops = [] if self._has("stop-ignored") else request.get("stop") or []
        until = next((place for place, word in enumerate(words) if word.strip() in stops), None)
        kept = until + 1 if until and self._has("stop-word-kept") else until
        said = {**spoken("".join(words[:kept])), "finish_reason": "length" if until is None else "stop"}
        if request.get("logprobs") and not self._has("no-logprobs"):
            likeliest = [{"token": word, "logprob": -0.5, "bytes": None} for word in ("one ", "two ")]
            top = [] if self._has("no-top-logprobs") else likeliest
            said["logprobs"] = {"content": [{**likeliest[0], "top_logprobs": top} for _ in words]}
        return said

    def _whole(self, said: Document, prompt_tokens: int) -> Document:
        message = {name: said.get(name) for name in ("content", "reasoning", "tool_calls")}
        choice = {name: said.get(name) for name in ("finish_reason", "logprobs")}
        if self._has("no-finish-reason"):
            choice["finish_reason"] = None
        choices = [{"index": 0, "message": {"role": "assistant", **message}, **choice}]
        usage = {} if self._has("no-usage") else {"usage": counts(prompt_tokens, said)}
        if self._has("usage-of-another-answer"):
            usage = {"usage": counts(prompt_tokens, spoken("one two three"))}
        return {"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "choices": choices, **usage}

    async def _stream(self, send: Send, request: Document, said: Document, prompt_tokens: int) -> None:
        options = request.get("stream_options") or {}
        await send_start(send, 200, b"text/event-stream")
        try:
            for delta in self._deltas(said):
                tokens = self._latest_prompt_tokens if self._has("answers-mixed-up") else prompt_tokens
                usage = {"usage": counts(tokens, spoken("one"))} if options.get("continuous_usage_stats") else {}
                await event(send, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **usage})
                time.sleep(TOKEN_S)
        except OSError:  # nobody reads any more
            time.sleep(RUNS_ON_S if self._has("cancelled-runs-on") else 0)
            raise
        if self._has("truncated-stream"):
            return
        await event(send, {"choices": [{"index": 0, "delta": {}, "finish_reason": said["finish_reason"]}]})
        if options.get("include_usage") and not self._has("no-stream-usage"):
            counted = spoken("one") if self._has("usage-so-far") else said
            await event(send, {"choices": [], "usage": counts(prompt_tokens, counted)})
        if not self._has("no-done"):
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    def _deltas(self, said: Document) -> Iterator[Document]:
        yield {"role": "assistant", "content": ""}
        for place, one in enumerate(said.get("tool_calls") or []):
            about = {} if self._has("calls-without-index") else {"index": place}
            arguments = one["function"]["arguments"]
            if self._has("arguments-as-object"):
                yield {"tool_calls": [{**one, **about}]}
                continue
            yield {"tool_calls": [{**one, **about, "function": {**one["function"], "arguments": ""}}]}
            yield {"tool_calls": [{**about, "function": {"arguments": arguments[:5]}}]}
            yield {"tool_calls": [{**about, "function": {"arguments": arguments[5:]}}]}
        words = said["content"].split(" ")
        pieces = [said["content"]] if self._has("stream-in-one-piece") else [f"{word} " for word in words if word]
        role = {"role": "assistant"} if self._has("role-in-every-piece") else {}
        yield from ({"content": piece, **role} for piece in pieces)


def spoken(text: str) -> Document:
    return {"content": text, "finish_reason": "stop"}


def call(name: str, city: str, number: int) -> Document:
    arguments = json.dumps({"city": city})
    return {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def counts(prompt_tokens: int, said: Document) -> Document:
    answer = len(said["content"].split()) or 1
    return {"prompt_tokens": prompt_tokens, "completion_tokens": answer, "total_tokens": prompt_tokens + answer}


async def event(send: Send, document: Document) -> None:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, **document}
    await send({"type": "http.response.body", "body": f"data: {json.dumps(chunk)}\n\n".encode()})


async def reply(send: Send, status: int, document: Document) -> None:
    await send_start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


async def send_start(send: Send, status: int, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})


@contextmanager
def serving(app: BrokenServer) -> Iterator[str]:
    """Its base_url, as long as it serves: over the stand-in engine's own bridge from HTTP."""
    spec = importlib.util.spec_from_file_location("stub_api_server", STUB)
    assert spec
    assert spec.loader
    stub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stub)
    stub.Bridge.app = staticmethod(app)
    stub.say = lambda _: None
    stub.Bridge.log_error = lambda *_: None
    with stub.Server(("127.0.0.1", 0), stub.Bridge) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()
