"""Up, used with the `openai` client, down: the real vLLM from its start to its verified end."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection

import openai
import psutil
import pytest
from driver import Gpu, Ran
from served import RECIPE, ask, assert_nothing_is_left, bring_up, client_of, port_of, wait_calmly

pytestmark = pytest.mark.engine

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
UNLISTED = (
    "/docs", "/redoc", "/openapi.json", "/metrics", "/health", "/ping", "/load", "/version", "/invocations",
    "/tokenize", "/detokenize", "/v1/models", "/v1/completions", "/v1/chat/completions", "/_gpu/supervisor", "/",
    "//v1/models", "/v1/models/", "/%76%31/models", "/nowhere",
)  # fmt: skip
"""Asked besides what the server's own list has: it does not list all, and paths may be written in other ways."""
WEBSOCKETS = ("/v1/realtime", "/nowhere")


@pytest.fixture(scope="module")
def up(gpu: Gpu, has_all_processes: None) -> Ran:
    return bring_up(gpu)


@pytest.fixture(scope="module")
def client(gpu: Gpu, up: Ran) -> Iterator[openai.OpenAI]:
    with client_of(gpu) as client:
        yield client


@pytest.fixture
def port(up: Ran) -> int:
    return port_of(up.stdout.strip())


def answer(port: int, method: str, path: str, key: str = "") -> tuple[int, bytes]:
    """Status and body."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = json.dumps({"model": RECIPE, "prompt": "Hi", "max_tokens": 1}) if method in ("POST", "PUT", "PATCH") else ""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def handshake_status(port: int, path: str) -> str:
    """How the server answers the beginning of a WebSocket."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.encode())
        return connection.recv(1024).split(b" ")[1].decode()


def test_up_prints_one_line_which_is_the_base_url(up: Ran) -> None:
    assert len(up.stdout.splitlines()) == 1
    assert up.stdout.startswith("http://127.0.0.1:")
    assert up.stdout.endswith("/v1\n")


def test_up_tells_what_will_end_it(up: Ran) -> None:
    assert "ends after 15m idle (supervisor and guard)" in up.stderr
    assert "at the latest (supervisor and guard); worst cost $0" in up.stderr


def test_the_model_answers(client: openai.OpenAI) -> None:
    assert "Paris" in ask(client)


def test_an_answer_can_be_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": "Count to ten."}], max_tokens=16, temperature=0, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 3
    assert "".join(pieces).strip()


def test_a_wrong_key_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="sk-wrong"))


def test_no_route_of_the_server_answers_without_the_key(client: openai.OpenAI, port: int) -> None:
    listed = set(json.loads(answer(port, "GET", "/openapi.json", client.api_key)[1])["paths"])
    assert {"/invocations", "/tokenize", "/v1/chat/completions"} <= listed  # it is the real list
    asked = [(method, path) for path in sorted({*listed, *UNLISTED}) for method in METHODS]
    assert [(method, path) for method, path in asked if answer(port, method, path)[0] != 401] == []


def test_invocations_is_a_working_route_with_the_key(client: openai.OpenAI, port: int) -> None:
    """So that its refusal without one says something."""
    assert answer(port, "POST", "/invocations", client.api_key)[0] == 200


@pytest.mark.parametrize("path", WEBSOCKETS)
def test_no_websocket_opens_without_the_key(port: int, path: str) -> None:
    assert handshake_status(port, path) == "403"


def test_ls_lists_it_with_what_will_end_it(gpu: Gpu, up: Ran) -> None:
    (deployment,) = gpu.ls()
    assert deployment["name"] == deployment["model"] == RECIPE
    assert deployment["state"] == "ready"
    assert deployment["base_url"] == up.stdout.strip()
    assert deployment["gpu"] == "cpu"
    assert all(stop["armed"] for stop in deployment["stops"])
    assert {(stop["kind"], stop["by"]) for stop in deployment["stops"]} == {
        (kind, by) for kind in ("idle", "deadline") for by in ("supervisor", "guard")
    }


def test_no_document_has_the_key(gpu: Gpu, client: openai.OpenAI) -> None:
    assert client.api_key not in gpu("ls", "--json").stdout
    assert client.api_key not in gpu("logs").stdout


def test_a_shell_can_use_it(gpu: Gpu, up: Ran) -> None:
    ask_it = (
        "import os, openai; "
        "answer = openai.OpenAI().completions.create("
        "model=os.environ['OPENAI_MODEL'], prompt='The capital of France is', max_tokens=4, temperature=0); "
        "print(answer.choices[0].text)"
    )
    script = 'eval "$("$PYTHON" -m gpu_cli env)" && "$PYTHON" -c "$ASK_IT"'
    environ = {**os.environ, "PYTHON": sys.executable, "ASK_IT": ask_it}
    ran = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, timeout=120)
    assert "Paris" in ran.stdout, ran.stderr


def test_a_second_up_returns_the_running_one(gpu: Gpu, up: Ran) -> None:
    again = bring_up(gpu)
    assert again.stdout == up.stdout
    assert len(gpu.engines()) == 1


def test_down_leaves_no_process_and_no_listener(gpu: Gpu, port: int) -> None:
    ours = gpu.processes()
    assert len(ours) >= 5  # guard, supervisor, server, engine, and who computes
    down = gpu("down")
    assert down.exit == 0, down.stderr
    assert_nothing_is_left(gpu, port)
    wait_calmly(lambda: gpu.guard() is None)  # there is nothing left to guard
    assert [process for process in ours if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert [(one["state"], one["reason"]) for one in gpu.ls()] == [("gone", "gpu down")]
