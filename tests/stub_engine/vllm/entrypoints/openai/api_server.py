"""A stand-in for vLLM's OpenAI server: same arguments, routes, metrics and log texts as vLLM 0.32, and no model.

It loads the middleware that it is told to load. The environment variable STUB_ENGINE, a JSON object, makes it
misbehave; all keys are optional:

    load_s          how long loading takes (0)
    load_until      a file: loading takes until it is there
    die             lines to log while loading, and then to end with status `exit` (1)
    serve           the model name to list instead of the one asked for
    refuse          status with which completions are answered
    silent          paths that accept a request and never answer, "*" for all; only from `silent_after_s` (0) on,
                    counted from the end of loading
    ignore_term     true: SIGTERM does nothing
    chats           chats as `tests/broken_server.py` does, which has all of that API, with these faults of it

A completion streams `max_tokens` (4) words; a `user` of `slow:SECONDS` makes it wait for so long after each.
"""

import argparse
import asyncio
import importlib
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MISBEHAVIOURS = {
    *("load_s", "load_until", "die", "exit"),
    *("serve", "refuse", "silent", "silent_after_s", "ignore_term", "chats"),
}
ANSWER = "Paris"


class Counters:
    """What `/metrics` shows."""

    def __init__(self) -> None:
        self.running = 0
        self.finished = 0
        self.tokens = 0
        self._lock = threading.Lock()

    def add(self, *, running: int = 0, finished: int = 0, tokens: int = 0) -> None:
        with self._lock:
            self.running += running
            self.finished += finished
            self.tokens += tokens

    def text(self, model: str) -> str:
        labels = f'engine="0",model_name="{model}"'
        return (
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{{{labels}}} {self.running:.1f}\n"
            f"vllm:num_requests_waiting{{{labels}}} 0.0\n"
            f"vllm:kv_cache_usage_perc{{{labels}}} 0.25\n"
            f"vllm:prefix_cache_queries_total{{{labels}}} {4 * self.finished:.1f}\n"
            f"vllm:prefix_cache_hits_total{{{labels}}} {self.finished:.1f}\n"
            f"vllm:num_preemptions_total{{{labels}}} 0.0\n"
            f"vllm:prompt_tokens_total{{{labels}}} {4 * self.finished:.1f}\n"
            f"vllm:generation_tokens_total{{{labels}}} {self.tokens:.1f}\n"
            f'vllm:request_success_total{{{labels},finished_reason="stop"}} {self.finished:.1f}\n'
            f'vllm:request_success_total{{{labels},finished_reason="abort"}} 0.0\n'
        )


class StubEngine:
    """The routes, as an ASGI application."""

    def __init__(self, model: str, misbehaviour: dict[str, Any]) -> None:
        self.model = model
        self.misbehaviour = misbehaviour
        self.counters = Counters()
        self.loaded_at = time.monotonic()
        self.chats = chats(misbehaviour["chats"]) if "chats" in misbehaviour else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if self._is_silent(path):
            await asyncio.sleep(3600)
        if self.chats and path in ("/v1/chat/completions", "/v1/models", "/openapi.json"):
            await self.chats(scope, receive, send)
        elif path in ("/v1/completions", "/v1/chat/completions", "/invocations"):
            await self._complete(path, json.loads((await receive())["body"]), send)
        elif path == "/v1/models":
            served = self.misbehaviour.get("serve", self.model)
            await reply(send, 200, json.dumps({"object": "list", "data": [{"id": served, "object": "model"}]}))
        elif path == "/metrics":
            await reply(send, 200, self.counters.text(self.model), "text/plain")
        elif path == "/health":
            await reply(send, 200, "")
        else:
            await reply(send, 404, json.dumps({"detail": "Not Found"}))

    def _is_silent(self, path: str) -> bool:
        paths = self.misbehaviour.get("silent", [])
        since_s = time.monotonic() - self.loaded_at
        return ("*" in paths or path in paths) and since_s >= self.misbehaviour.get("silent_after_s", 0)

    async def _complete(self, path: str, request: dict[str, Any], send: Send) -> None:
        if status := self.misbehaviour.get("refuse"):
            await reply(send, status, json.dumps({"error": {"message": "EngineCore encountered an issue."}}))
            return
        self.counters.add(running=1)
        try:
            words = self._words(request)
            if request.get("stream"):
                await stream(send, (chunk(path, self.model, word) for word in words))
            else:
                await reply(send, 200, json.dumps(whole(path, self.model, " ".join(words))))
        finally:
            self.counters.add(running=-1, finished=1)

    def _words(self, request: dict[str, Any]) -> Iterator[str]:
        """Blocks its own thread only: every request has one."""
        pause_s = float(str(request.get("user", "")).removeprefix("slow:") or 0)
        for _ in range(request.get("max_tokens") or 4):
            self.counters.add(tokens=1)
            yield ANSWER
            time.sleep(pause_s)


def chats(faults: Sequence[str]) -> App:
    sys.path.append(str(Path(__file__).parents[4]))
    app: App = importlib.import_module("broken_server").BrokenServer(*faults)
    return app


def whole(path: str, model: str, text: str) -> dict[str, object]:
    chat = "chat" in path
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    choice = {"index": 0, "finish_reason": "stop", **said}
    usage = {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}
    kind = "chat.completion" if chat else "text_completion"
    return {"id": "cmpl-1", "object": kind, "created": 0, "model": model, "choices": [choice], "usage": usage}


def chunk(path: str, model: str, word: str) -> dict[str, object]:
    chat = "chat" in path
    said = {"delta": {"role": "assistant", "content": f"{word} "}} if chat else {"text": f"{word} "}
    kind = "chat.completion.chunk" if chat else "text_completion"
    choice = {"index": 0, "finish_reason": None, **said}
    return {"id": "cmpl-1", "object": kind, "created": 0, "model": model, "choices": [choice]}


async def reply(send: Send, status: int, text: str, kind: str = "application/json") -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def stream(send: Send, chunks: Iterator[dict[str, object]]) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for data in chunks:
        await send({"type": "http.response.body", "body": f"data: {json.dumps(data)}\n\n".encode()})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


class Bridge(BaseHTTPRequestHandler):
    """One HTTP request as one ASGI call, in a thread and an event loop of its own. HTTP/1.0: its end ends a stream."""

    app: App

    def do_GET(self) -> None:
        asyncio.run(self._call())

    def do_POST(self) -> None:
        asyncio.run(self._call())

    async def _call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        path, _, query = self.path.partition("?")
        scope = {"type": "http", "method": self.command, "path": path, "query_string": query, "headers": headers}

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.wfile.write(message.get("body", b""))
            self.wfile.flush()
            return
        self.send_response(message["status"])
        for name, value in message["headers"]:
            self.send_header(name.decode(), value.decode())
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - given by the base
        say(f'INFO:     {self.client_address[0]}:{self.client_address[1]} - "{self.requestline}" {code}')


class Server(ThreadingHTTPServer):
    """One thread a connection."""

    daemon_threads = True
    request_queue_size = 64  # of connections: whoever finds no room comes again after a second

    def handle_error(self, *_: object) -> None:
        """Of a caller that does not speak TLS, or hangs up."""
        say(f"WARNING:  Invalid HTTP request received: {sys.exc_info()[1]}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def load(misbehaviour: dict[str, Any], model: str) -> None:
    """With the texts by which the real one tells how far it is."""
    api, core, worker = "(APIServer pid=1) INFO", "(EngineCore pid=2) INFO", "(Worker pid=3) INFO"
    say(f"{api} [model.py:733] Resolved architecture: LlamaForCausalLM")
    say(f"{core} [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='{model}'")
    say(f"{worker} [cpu_model_runner.py:68] Starting to load model {model}...")
    time.sleep(misbehaviour.get("load_s", 0))
    while "load_until" in misbehaviour and not Path(misbehaviour["load_until"]).exists():
        time.sleep(0.05)
    if "die" in misbehaviour:
        for line in misbehaviour["die"]:
            say(line)
        sys.exit(misbehaviour.get("exit", 1))
    say("Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:01<00:00,  1.16s/it]")
    say(f"{worker} [default_loader.py:501] Loading weights took 1.16 seconds")
    say(f"{core} [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens, Maximum concurrency for 2,048 tokens")


def middleware(name: str, app: App) -> App:
    module, _, attribute = name.rpartition(".")
    wrapped: App = getattr(importlib.import_module(module), attribute)(app)
    return wrapped


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Those that `gpu` passes; vLLM's own parser refuses unknown ones in the same way."""
    parser = argparse.ArgumentParser(prog="api_server.py")
    for name in ("model", "served-model-name", "host", "middleware", "disable-access-log-for-endpoints"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("ssl-certfile", "ssl-keyfile"):
        parser.add_argument(f"--{name}")
    for name in ("revision", "kv-cache-dtype", "quantization", "tool-call-parser", "reasoning-parser", "chat-template"):
        parser.add_argument(f"--{name}")
    for name in ("port", "max-num-seqs", "max-model-len", "tensor-parallel-size", "pipeline-parallel-size"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--gpu-memory-utilization", type=float)
    for name in ("enforce-eager", "enable-expert-parallel", "enable-auto-tool-choice"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    args = arguments(given)
    misbehaviour = json.loads(os.environ.get("STUB_ENGINE", "{}"))
    if unknown := set(misbehaviour) - MISBEHAVIOURS:
        sys.exit(f"STUB_ENGINE: unknown {unknown}")
    if not (Path(args.model) / "config.json").is_file():
        sys.exit(f"OSError: {args.model} does not appear to have a file named config.json")
    ignored = signal.SIG_IGN if misbehaviour.get("ignore_term") else signal.SIG_DFL
    signal.signal(signal.SIGTERM, ignored)
    load(misbehaviour, args.model)
    engine = StubEngine(args.served_model_name, misbehaviour)
    Bridge.app = staticmethod(middleware(args.middleware, engine) if args.middleware else engine)
    server = Server((args.host, args.port), Bridge)
    if args.ssl_certfile:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.ssl_certfile, args.ssl_keyfile)
        # The handshake belongs into the connection's own thread: a caller that says nothing must not hold up others.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    say("INFO:     Application startup complete.")
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
