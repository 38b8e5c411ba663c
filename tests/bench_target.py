"""A server to put load on: it streams as fast as it is told, and misbehaves where it is told."""

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

KEY = "sk-bench-canary-8f3a"


@dataclass
class BenchTarget:
    """Use in `with`. `die` closes it as a crash would."""

    token_s: float = 0.02
    """Between two tokens of an answer."""
    knows_ignore_eos: bool = True
    fails_every: int = 0
    """One request in so many is refused; none where it is 0."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of those that are answered."""
    asked: set[str] = field(default_factory=set)
    """Method and path of all."""
    _with_key: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _tasks: set["asyncio.Task[None] | None"] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def die(self) -> None:
        """Nobody listens any more, and those who were being answered are cut off."""
        asyncio.run_coroutine_threadsafe(self._die(), self._loop).result()

    async def _die(self) -> None:
        self._server.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or "{}")
        self.asked.add(head.decode().partition(" HTTP/")[0])
        if headers.get("authorization") == f"bearer {KEY}":
            await self._answer_to_known(body, writer)
        else:
            _reply(writer, 401, {"error": "no key"})
        await writer.drain()

    async def _answer_to_known(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self._with_key += 1
        if "ignore_eos" in body and not self.knows_ignore_eos:
            _reply(writer, 400, {"error": "unknown field: ignore_eos"})
        elif self.fails_every and self._with_key % self.fails_every == 0:
            await asyncio.sleep(0.1)
            _reply(writer, 503, {"error": "overloaded"})
        else:
            self.requests.append(body)
            await self._complete(body, writer)

    async def _complete(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        usage = {"prompt_tokens": len(_question(body).split()), "completion_tokens": body["max_tokens"]}
        if not body.get("stream"):
            await asyncio.sleep(self.token_s * body["max_tokens"])
            choice = _choice(body, "word " * body["max_tokens"])
            _reply(writer, 200, {**_kind(body), "choices": [choice], "usage": usage})
            return
        _start(writer, 200, b"text/event-stream", b"Transfer-Encoding: chunked")
        for _ in range(body["max_tokens"]):
            await asyncio.sleep(self.token_s)
            _event(writer, json.dumps({**_kind(body), "choices": [_choice(body, "word ")]}))
        _event(writer, json.dumps({**_kind(body), "choices": [], "usage": usage}))
        _event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")


def _question(body: dict[str, Any]) -> str:
    return str(body["prompt"] if "prompt" in body else body["messages"][0]["content"])


def _kind(body: dict[str, Any]) -> dict[str, Any]:
    chat = "chat.completion.chunk" if body.get("stream") else "chat.completion"
    return {"id": "1", "object": "text_completion" if "prompt" in body else chat, "created": 0, "model": body["model"]}


def _choice(body: dict[str, Any], text: str) -> dict[str, Any]:
    said = {"text": text} if "prompt" in body else {"delta" if body.get("stream") else "message": {"content": text}}
    return {"index": 0, "finish_reason": None, **said}


def _reply(writer: asyncio.StreamWriter, status: int, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    _start(writer, status, b"application/json", b"Content-Length: %d" % len(body))
    writer.write(body)


def _start(writer: asyncio.StreamWriter, status: int, kind: bytes, length: bytes) -> None:
    writer.write(b"HTTP/1.1 %d Said\r\nContent-Type: %s\r\n%s\r\n\r\n" % (status, kind, length))


def _event(writer: asyncio.StreamWriter, text: str) -> None:
    data = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
