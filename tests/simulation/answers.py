"""A cloud of nothing but recorded answers: a provider's client sends its requests as ever, and no socket is opened.

An answer is known by its request's method, path and query. Asked the same again, the cloud goes on in what it answered
then, and at last repeats itself. What it was never asked is not answered at all, from which nothing may be concluded.
"""

import contextlib
import importlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest import mock

import httpx
from mutations import Answer

from gpu_providers.http import Http, user_agent

NOT_KEPT = ("content-length", "transfer-encoding", "connection", "server", "date")
LONG_BYTES, ROWS = 10_000, 6
NOW = 1_800_000_000.0
PATIENT = ("gpu_providers.runpod.logs", "gpu_providers.vast.logs", "gpu_providers.lambda_cloud.logs",
           "gpu_providers.lambda_cloud.instances", "gpu_providers.lambda_cloud.ssh")  # fmt: skip
"""The modules that wait by the clock themselves."""


@dataclass(frozen=True)
class Exchange:
    """What was asked, and what was answered."""

    method: str
    path: str
    query: str
    answer: Answer

    @property
    def asked(self) -> tuple[str, str, str]:
        return self.method, self.path, self.query


class Time:
    """Seconds that pass only when somebody waits for them."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> float:
        """A wait by looking at the clock ends, too."""
        self.passed_s += 1e-4
        return NOW + self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += max(seconds, 0.0)


@dataclass
class Replay:
    """The cloud of one case. `spoil` is given the number of an exchange and its answer, and gives what arrives."""

    exchanges: Sequence[Exchange]
    """Those that the call itself has had come first; the others are of the same moment."""
    spoil: Callable[[int, Answer], Answer]
    given: list[tuple[Exchange, Answer]] = field(default_factory=list)
    """All that was answered, with what it was before it was spoiled."""
    crashes: list[BaseException] = field(default_factory=list)
    """What ended threads."""
    _asked: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for number, exchange in enumerate(self.exchanges):
            self._known[exchange.asked].append(number)

    def answer(self, request: httpx.Request) -> Answer | None:
        """None for what nobody has asked before."""
        asked = request.method, request.url.path, request.url.query.decode()
        with self._lock:
            known = self._known.get(asked)
            if not known:
                return None
            number = known[min(self._asked[asked], len(known) - 1)]
            self._asked[asked] += 1
            answer = self.spoil(number, self.exchanges[number].answer)
            self.given.append((self.exchanges[number], answer))
        return answer


class Replayed(httpx.BaseTransport):
    """What httpx sends through; `replay` is of the present case."""

    replay: Replay

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = self.replay.answer(request)
        if answer is None:
            raise httpx.ConnectError("nobody answers that here", request=request)
        if "\n" in "".join(answer.headers.values()):
            raise httpx.RemoteProtocolError("illegal header line", request=request)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        line = SimpleNamespace(get_extra_info=lambda _: SimpleNamespace(shutdown=lambda _: None))
        return httpx.Response(
            answer.status, headers=headers, stream=httpx.ByteStream(answer.body), extensions={"network_stream": line}
        )


class Recorder(httpx.BaseTransport):
    """Sends in truth, and keeps what comes."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._real = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._real.handle_request(request)
        headers = {name.lower(): value for name, value in response.headers.items() if name.lower() not in NOT_KEPT}
        body = bytearray()
        place = len(self.exchanges)

        def keep(more: bytes = b"") -> None:
            body.extend(more)
            url = request.url
            answer = Answer(response.status_code, headers, _shortened(bytes(body)))
            self.exchanges[place] = Exchange(request.method, url.path, url.query.decode(), answer)

        self.exchanges.append(Exchange("", "", "", Answer(0, {}, b"")))
        keep()
        return httpx.Response(
            response.status_code, headers=response.headers, stream=_Kept(response.stream, keep),
            extensions=response.extensions,
        )  # fmt: skip

    def take(self) -> tuple[Exchange, ...]:
        """What came since the last time."""
        taken, self.exchanges = tuple(self.exchanges), []
        return taken


def _shortened(body: bytes) -> bytes:
    """With no more than some rows of a long list of offers: the others are like them."""
    if len(body) < LONG_BYTES:
        return body
    try:
        said = json.loads(body)
    except ValueError:
        return body  # it is still coming
    short = {name: rows[:ROWS] if name == "offers" else rows for name, rows in said.items()}
    return json.dumps(short).encode()


class _Kept(httpx.SyncByteStream):
    def __init__(self, stream: object, keep: Callable[[bytes], None]) -> None:
        self._stream, self._keep = stream, keep

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:  # type: ignore[attr-defined]
            self._keep(part)
            yield part

    def close(self) -> None:
        self._stream.close()  # type: ignore[attr-defined]


def http_through(transport: httpx.BaseTransport, time: Time | None = None) -> Http:
    """The product's own, through this transport; with a `time` its pauses cost none."""
    http = Http(clock=time.now, sleep=time.sleep) if time else Http()
    http.__dict__["_client"] = httpx.Client(transport=transport, headers={"User-Agent": user_agent()})
    return http


@contextlib.contextmanager
def without_waiting(time: Time) -> Iterator[None]:
    """In the block providers wait by this time, and nobody's SSH server answers."""
    instead = SimpleNamespace(monotonic=time.now, time=time.now, sleep=time.sleep)
    network = SimpleNamespace(create_connection=_unreachable)
    with contextlib.ExitStack() as patched:
        for module in map(importlib.import_module, PATIENT):
            patched.enter_context(mock.patch.object(module, "time", instead))
        patched.enter_context(mock.patch.object(importlib.import_module(PATIENT[-1]), "socket", network))
        yield


def _unreachable(address: tuple[str, int], **_: object) -> None:
    """As `socket.create_connection` fails, also for what is no address."""
    host, _port = address
    host.encode("idna")
    if "\0" in host:
        raise ValueError("embedded null character")
    raise ConnectionRefusedError(111, "Connection refused")


@contextlib.contextmanager
def threads_watched(replay: Replay) -> Iterator[None]:
    """What ends a thread is kept with the case."""
    before = threading.excepthook
    threading.excepthook = lambda told: replay.crashes.append(told.exc_value or RuntimeError())
    try:
        yield
    finally:
        threading.excepthook = before


__all__ = ["Answer", "Exchange", "Mapping", "Recorder", "Replay", "Replayed", "Time", "http_through"]
