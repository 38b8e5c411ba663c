import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gpu_cli.fleet.gauges.exposition import BadMetrics, read_samples
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable, work_of
from gpu_providers.base import Secret


class Server:
    """Answers each path with what it was told; what it was asked is kept."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[tuple[str, str | None, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                server.asked.append((self.path, self.headers["Authorization"], body))
                status, text = server.answers.get(self.path, (404, "not found"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[EngineClient]:
    with EngineClient(server.url, Secret("sk-1"), timeout_s=5) as client:
        yield client


def test_every_request_carries_the_key(server: Server, client: EngineClient) -> None:
    server.answers = {"/health": (200, ""), "/v1/models": (200, '{"data": [{"id": "tiny"}]}')}
    assert client.is_healthy()
    assert client.models() == ("tiny",)
    assert {key for _, key, _ in server.asked} == {"Bearer sk-1"}


def test_only_200_is_healthy_and_no_answer_is_not(server: Server, client: EngineClient) -> None:
    server.answers = {"/health": (503, "")}
    assert not client.is_healthy()
    with EngineClient("http://127.0.0.1:9", Secret("sk-1")) as nowhere:
        assert not nowhere.is_healthy()


def test_a_completion_is_asked_for_few_tokens_and_its_text_is_the_answer(server: Server, client: EngineClient) -> None:
    server.answers = {"/v1/completions": (200, '{"choices": [{"text": " Paris"}]}')}
    assert client.complete("tiny", timeout_s=5) == " Paris"
    request = json.loads(server.asked[0][2])
    assert request["model"] == "tiny"
    assert request["max_tokens"] <= 16


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (500, '{"error": "EngineCore is dead"}', "answered 500"),
        (200, "no json", "did not answer with JSON"),
        (200, "[]", "did not answer with an object"),
        (200, '{"choices": []}', "the completion has no text"),
    ],
)
def test_an_answer_that_is_no_completion_is_refused(
    server: Server, client: EngineClient, status: int, text: str, told: str
) -> None:
    server.answers = {"/v1/completions": (status, text)}
    with pytest.raises(EngineRefused, match=told):
        client.complete("tiny", timeout_s=5)


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_gateway_says_is_no_answer_of_the_engine(server: Server, client: EngineClient, status: int) -> None:
    server.answers = {"/v1/models": (status, "it hung up without an answer")}
    with pytest.raises(EngineUnreachable, match=f"answered {status}: it hung up"):
        client.models()


def test_no_answer_is_unreachable_and_the_text_has_no_key() -> None:
    with EngineClient("http://127.0.0.1:9", Secret("sk-1")) as client, pytest.raises(EngineUnreachable) as error:
        client.models()
    assert "sk-1" not in str(error.value)


def test_a_proxy_of_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.answers = {"/health": (200, "")}
    with EngineClient(server.url, Secret("sk-1")) as client:
        assert client.is_healthy()


METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="a {b} c"} 2.0
vllm:num_requests_running{engine="1",model_name="a {b} c"} 1.0
vllm:num_requests_waiting{engine="0",model_name="a {b} c"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 50.0
vllm:request_success_total{engine="0",finished_reason="stop"} 7.0
vllm:request_success_total{engine="0",finished_reason="abort"} 1.0
vllm:prompt_tokens_total{engine="0"} 100.0
vllm:generation_tokens_total{engine="0"} 200.0
"""


def test_work_is_summed_over_labels(server: Server, client: EngineClient) -> None:
    server.answers = {"/metrics": (200, METRICS)}
    work = client.work()
    assert (work.running, work.waiting, work.done) == (3, 1, 308)


@pytest.mark.parametrize("name", re.findall(r"^(vllm:\w+)(?<!by_reason)\{", METRICS, re.MULTILINE))
def test_a_figure_that_is_missing_is_not_zero(name: str) -> None:
    with pytest.raises(BadMetrics, match=name):
        work_of(read_samples(METRICS.replace(f"{name}{{", "vllm:other{")))
