"""Engines that only pretend: no process, but a port where a supervised vLLM seems to have come up at once.

All of them are one thread of the emulator, so that a whole `gpu up` costs next to nothing. Each answers by what its
container was started with: the key, the model's name, the supervisor's limits, TLS where there is a certificate. None
of them ever ends by itself, and none of them destroys anything: who wants that takes the engine `stub`.
"""

import asyncio
import json
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gpu_providers.vast.unpack import BOX, unpack

GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting")
COUNTER = "vllm:request_success_total"
LOG = ("[supervisor] armed", "INFO: Application startup complete.")
"""What its container says."""
JSON, TEXT = "application/json", "text/plain; version=0.0.4"
LONGEST_HEAD_BYTES = 2**16


@dataclass
class PretendedEngine:
    """What a container would run, as far as it can be seen from its port."""

    environ: Mapping[str, str]
    command: Sequence[str]
    began_at: float = field(default_factory=time.time)
    done: int = 0
    """Completions so far."""

    @classmethod
    def of(cls, environ: Mapping[str, str], command: Sequence[str]) -> "PretendedEngine":
        """With what the cloud's own packing hides."""
        parcel = {name: value for name, value in environ.items() if name.startswith(BOX)}
        inside, argv = unpack(parcel) if parcel else ({}, list(command))
        environ = {**environ, **inside}
        return cls(environ, json.loads(environ["GPU_SUPERVISOR"])["engine"] if "GPU_SUPERVISOR" in environ else argv)

    @property
    def model(self) -> str:
        """The name that it serves."""
        told = dict(zip(self.command, self.command[1:], strict=False))
        return told.get("--served-model-name", told.get("--model", self.command[0] if self.command else ""))

    def tls(self) -> ssl.SSLContext | None:
        """None for plain HTTP."""
        if "GPU_TLS" not in self.environ:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(self.environ["GPU_TLS"])
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def answer(self, method: str, path: str, authorization: str) -> tuple[int, str, str]:
        """Status, type and text, as the guard middleware and vLLM give them."""
        key = self.environ.get("VLLM_API_KEY", "")
        if key and authorization != f"Bearer {key}":
            return 401, JSON, json.dumps({"error": {"message": "Missing or wrong API key", "code": "invalid_api_key"}})
        if (method, path) == ("POST", "/v1/completions"):
            self.done += 1
            return 200, JSON, json.dumps({"model": self.model, "choices": [{"index": 0, "text": " Paris"}]})
        if method == "GET" and path == "/metrics":
            return 200, TEXT, self._metrics()
        known: Mapping[str, Any] = {
            "/health": {},
            "/v1/models": {"object": "list", "data": [{"id": self.model, "object": "model"}]},
            **({"/_gpu/supervisor": self._status()} if "GPU_SUPERVISOR" in self.environ else {}),
        }
        return (200, JSON, json.dumps(known[path])) if path in known else (404, JSON, '{"detail": "Not Found"}')

    def _metrics(self) -> str:
        samples = [(name, 0) for name in GAUGES] + [(COUNTER, self.done)]
        return "".join(f'{name}{{model_name="{self.model}"}} {value:.1f}\n' for name, value in samples)

    def _status(self) -> Mapping[str, object]:
        told, now = json.loads(self.environ["GPU_SUPERVISOR"]), time.time()
        return {
            **{name: told[name] for name in ("version", "name", "idle_s", "deadline_s", "start_deadline_s")},
            "phase": "serving",
            "can_destroy": told["destroy"] is not None,
            "elapsed_s": now - self.began_at,
            "idle_for_s": now - self.began_at,
            "requests_running": 0,
            "requests_waiting": 0,
            "requests_finished": self.done,
            "reason": None,
            "detail": "",
            "started_at": self.began_at,
            "ready_at": self.began_at,
            "beat_at": now,
            "beat_age_s": 0.0,
        }


class Pretended:
    """The ports of all of them, served by one thread from the first one on until `stop`."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="pretended-engines", daemon=True)

    @contextmanager
    def serving(self, engine: PretendedEngine, host: str, port: int) -> Iterator[None]:
        """It listens there meanwhile. Raises OSError for a port that is taken."""
        served = serving(engine, host, port)
        self._done(served.__aenter__())
        try:
            yield
        finally:
            self._done(served.__aexit__(None, None, None))

    def stop(self) -> None:
        """Once nothing is served any more."""
        if self._loop:
            self._done(_all_ended())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _done(self, work: Coroutine[Any, Any, Any]) -> None:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread.start()
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        assert self._loop
        self._loop.run_forever()


async def _all_ended() -> None:
    """Also what was only being let in when its port was closed."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # connections close a turn later


@asynccontextmanager
async def serving(engine: PretendedEngine, host: str, port: int) -> AsyncIterator[None]:
    """It listens there meanwhile, in the loop that is running. Raises OSError for a port that is taken."""
    connections: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(engine, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(serve, host, port, ssl=engine.tls(), limit=LONGEST_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0)  # who is being let in is in by then
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _serve(engine: PretendedEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError, asyncio.IncompleteReadError, ValueError):  # the client has left, or speaks no HTTP
            while True:
                await _answer_one(engine, reader, writer)
    except asyncio.CancelledError:
        writer.transport.abort()  # whoever does not read what is left would keep it open
        raise
    finally:
        writer.close()


async def _answer_one(engine: PretendedEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = first.split(" ")
    await reader.readexactly(int(headers.get("content-length", "0")))
    path = target.partition("?")[0]
    status, kind, text = engine.answer(method, path, headers.get("authorization", ""))
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
