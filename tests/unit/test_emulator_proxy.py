"""The emulators' proxy in front of containers, with what really runs there: our supervisor, and an engine under it."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest
from driver import wait_until
from emulators.clock import Clock
from emulators.container_spec import ContainerSpec
from emulators.containers import Container, Containers
from emulators.forwarding import forward
from emulators.runpod.proxy import Exposed, Proxy
from emulators.server import Request, Response, Router, Server

from gpu_cli.fleet.node.node import packed_node
from gpu_cli.paths import shipped

IMAGE = "vllm/vllm-openai:v0.32.0"
KEY = {"Authorization": "Bearer sk-test"}
ENGINE = (
    *("python3", "engine_start.py", "1", "python3", "-m", "vllm.entrypoints.openai.api_server"),
    *("--model", "{weights}", "--served-model-name", "tiny", "--host", "0.0.0.0", "--port", "8000"),
    *("--middleware", "guard_middleware.GuardMiddleware", "--disable-access-log-for-endpoints", "/health,/metrics"),
)
SUPERVISOR = {
    "version": 1,
    "name": "gpu-tiny-1",
    "engine": ENGINE,
    "port": 8000,
    "scheme": "http",
    "idle_s": 600,
    "deadline_s": 600,
    "start_deadline_s": 60,
    "hung_s": 60,
    "state_dir": "state",
    "tick_s": 0.1,
}
ENV = {
    "GPU_NODE": packed_node(),
    "GPU_WEIGHTS": json.dumps({"sources": [["hf", "org/tiny"]], "revision": None, "folder": "weights"}),
    "GPU_SUPERVISOR": json.dumps(SUPERVISOR),
    "VLLM_API_KEY": "sk-test",
}
POD = ContainerSpec(
    "pod1", IMAGE, ("python3",), ("-c", (shipped("templates") / "bootstrap.py").read_text()), ENV, port=8000
)

Pods = dict[str, Exposed]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pods(clock: Clock) -> Pods:
    return {}


@pytest.fixture
def url(pods: Pods, clock: Clock) -> Iterator[str]:
    """Of a server that has the proxy and nothing else."""
    router = Router(Proxy(pods.get, clock).routes())

    def answer(request: Request) -> Response:
        found = router.find(request)
        assert isinstance(found, tuple)
        return found[0].handle(found[1])

    server = Server(answer)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def containers(clock: Clock) -> Iterator[Containers]:
    made = Containers(clock)
    yield made
    made.close()


@pytest.fixture
def pod(containers: Containers, pods: Pods) -> Container:
    """A pod that serves."""
    container = containers.start(POD, "stub")
    pods["pod1"] = Exposed((8000,), container)
    wait_until(lambda: container.port)
    return container


def test_the_supervised_engine_answers_through_the_proxy_and_only_to_its_key(pod: Container, url: str) -> None:
    root = f"{url}/proxy/pod1/8000"

    assert httpx.get(f"{root}/v1/models", headers=KEY).json()["data"][0]["id"] == "tiny"
    assert httpx.get(f"{root}/v1/models").status_code == 401
    told = httpx.get(f"{root}/_gpu/supervisor", headers=KEY).json()
    assert told["name"] == "gpu-tiny-1"
    lines = [line.line for line in pod.log.lines()]
    assert "[supervisor] armed idle_s=600 deadline_s=600 start_deadline_s=60" in lines
    assert any(line.startswith("[weights] hf://org/tiny: ") for line in lines)


def test_a_completion_streams_through_the_proxy_word_by_word(pod: Container, url: str) -> None:
    body = {"prompt": "The capital of France is", "stream": True, "max_tokens": 3, "user": "slow:0.3"}
    arrived_s = []
    with httpx.stream("POST", f"{url}/proxy/pod1/8000/v1/completions", json=body, headers=KEY) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        for line in filter(None, answer.iter_lines()):
            arrived_s.append(time.monotonic())
            last = line

    assert last == "data: [DONE]"
    assert len(arrived_s) == 4
    assert arrived_s[2] - arrived_s[0] > 0.4


def test_a_stopped_pod_is_a_bad_gateway(pod: Container, url: str) -> None:
    pod.stop()
    pod.join()

    assert httpx.get(f"{url}/proxy/pod1/8000/health", headers=KEY).status_code == 502


def test_a_pod_in_which_nothing_listens_yet_is_a_bad_gateway_with_a_web_page(
    containers: Containers, pods: Pods, url: str
) -> None:
    pods["pod1"] = Exposed((8000,), containers.start(POD, "none"))
    pods["pod2"] = Exposed((8000,), None)

    for name in pods:
        answer = httpx.get(f"{url}/proxy/{name}/8000/v1/models", headers=KEY)
        assert answer.status_code == 502
        assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("address", ["pod2/8000/", "pod1/8001/", "pod1/ssh/", "pod1/8001", "pod1/08000/"])
def test_what_is_not_exposed_is_not_found(containers: Containers, pods: Pods, url: str, address: str) -> None:
    pods["pod1"] = Exposed((8000,), containers.start(POD, "none"))

    assert httpx.get(f"{url}/proxy/{address}", headers=KEY).status_code == 404


def test_a_port_that_the_command_does_not_listen_on_is_a_bad_gateway(
    containers: Containers, pods: Pods, url: str
) -> None:
    container = containers.start(replace(POD, cmd=("-m", "http.server", "8080")), "stub")
    pods["pod1"] = Exposed((8000, 9000), container)
    wait_until(lambda: container.uptime_s)

    assert httpx.get(f"{url}/proxy/pod1/8000/").status_code == 502
    assert httpx.get(f"{url}/proxy/pod1/9000/").status_code == 502


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; `/slow` never does, `/half` stops in the middle, `/endless` sends for ever."""

    protocol_version = "HTTP/1.1"
    sent_s = 0.0

    def _answer(self) -> None:
        if self.path == "/slow":
            time.sleep(2)
            self.close_connection = True
            return
        if self.path in ("/half", "/endless"):
            self._stream()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        seen = {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers.items())}
        self.send_response(299)
        self.send_header("X-Own", "yes")
        self.send_header("Content-Length", str(len(json.dumps(seen))))
        self.end_headers()
        self.wfile.write(json.dumps(seen).encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _stream(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        self.wfile.write(b"first")
        if self.path == "/half":
            time.sleep(2)
        while self.path == "/endless":
            self.wfile.write(b"more")
            type(self).sent_s = time.monotonic()
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Silent(ThreadingHTTPServer):
    """Tells nothing of clients that have left."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """They have left."""


@pytest.fixture
def echo(url: str) -> Iterator[int]:
    """The port of a server that tells what reached it."""
    server = Silent(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def asked(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Request:
    parts = urlsplit(path)
    return Request(method, parts.path, {}, headers, body, raw_query=parts.query)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_method_query_body_and_headers_arrive_unchanged(echo: int, method: str) -> None:
    headers = {"authorization": "Bearer sk-1", "x-mine": "1", "connection": "keep-alive", "host": "pod1-8000.example"}
    answer = forward(asked(method, "/a%20b?c=%26&d", b"text", headers), echo, "/a%20b", silence_s=5)

    assert isinstance(answer.body, bytes)
    seen = json.loads(answer.body)
    assert (answer.status, answer.headers["X-Own"]) == (299, "yes")
    assert (seen["method"], seen["path"], seen["body"]) == (method, "/a%20b?c=%26&d", "text")
    assert {"authorization": "Bearer sk-1", "x-mine": "1"}.items() <= seen["headers"].items()


def test_an_engine_that_says_nothing_in_time_is_a_524(echo: int) -> None:
    answer = forward(asked("GET", "/slow"), echo, "/slow", silence_s=0.2)

    assert answer.status == 524
    assert b"timeout" in answer.body  # type: ignore[operator]


def test_the_limit_to_the_first_byte_runs_on_the_clouds_clock(
    pod: Container, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.speed = 200.0
    monkeypatch.setattr("emulators.forwarding.LEAST_SILENCE_S", 0.1)
    body = {"prompt": "x", "max_tokens": 2, "user": "slow:1"}
    began_s = time.monotonic()

    assert httpx.post(f"{url}/proxy/pod1/8000/v1/completions", json=body, headers=KEY).status_code == 524
    assert time.monotonic() - began_s >= 0.5


def test_an_answer_that_stops_in_the_middle_is_cut_off(echo: int) -> None:
    server = Server(lambda request: forward(request, echo, request.path, silence_s=0.2))
    server.start()
    try:
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/half")
    finally:
        server.stop()


def test_when_the_client_hangs_up_so_does_the_proxy(echo: int) -> None:
    server = Server(lambda request: forward(request, echo, request.path, silence_s=5))
    server.start()
    try:
        with httpx.stream("GET", f"{server.url}/endless") as answer:
            next(answer.iter_raw())
        wait_until(lambda: time.monotonic() - Echo.sent_s > 0.5, timeout_s=10)
    finally:
        server.stop()
