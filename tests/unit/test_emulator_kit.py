"""The kit that emulated clouds are made of, shown with a tiny one, and the command that starts one by hand."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from emulated_runpod import new_pod, until
from emulators import process_tree
from emulators.__main__ import parser
from emulators.bill import Bill
from emulators.clock import Clock
from emulators.cloud import Cloud
from emulators.container_spec import Boot, ContainerSpec
from emulators.runpod import RunPodEmulator
from emulators.server import Handler, Request, Reset, Response, Route, Router, Server, json_response
from hypothesis import given
from hypothesis import strategies as st

CHECKOUT = Path(__file__).resolve().parents[2]
BY_HAND = (sys.executable, "-m", "tests.emulators", "runpod")


class StillClock(Clock):
    """Stands until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


class TinyCloud(Cloud):
    """Machines without properties, and a stream."""

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/machines", self._create, call="create"),
            Route("GET", "/stream", self._stream, locked=False),
            Route("GET", "/machines/{name}/files/{path...}", lambda request: json_response(dict(request.params))),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {"TINY_URL": self.url}

    def refusal(self, status: int, detail: str) -> Response:
        return json_response({"error": detail}, status)

    def state(self) -> object:
        return self.billing.alive()

    def _create(self, _: Request) -> Response:
        self.billing.start("m1", "one", 2.0)
        self.run(ContainerSpec("m1", "image", (), (), {}, 8000), Boot())
        return json_response({"id": "m1"}, 201)

    def _stream(self, _: Request) -> Response:
        def parts() -> Iterator[bytes]:
            while not self.stopping.wait(0.01):
                yield b"tick\n"

        return Response(200, parts(), {"Content-Type": "text/plain"})


@pytest.fixture
def tiny() -> Iterator[TinyCloud]:
    with TinyCloud() as cloud:
        yield cloud


@contextmanager
def served(answer: Handler) -> Iterator[str]:
    server = Server(answer)
    server.start()
    yield server.url
    server.stop()


# Time and money


def test_the_clock_runs_as_fast_as_told_and_can_be_moved() -> None:
    clock = Clock(speed=1000)
    before = clock.now()
    time.sleep(0.02)
    assert 20 <= clock.now() - before < 500
    clock.advance(86_400)
    assert clock.now() - before > 86_400


def test_timestamps_are_rfc_3339_in_utc() -> None:
    assert Clock().timestamp(0) == "1970-01-01T00:00:00Z"


def test_a_resource_costs_by_the_second_until_it_is_gone() -> None:
    clock = StillClock()
    bill = Bill(clock, balance_usd=10)
    bill.start("a", "gpu-a", 3.6)
    clock.advance(100)
    assert bill.as_json() == {"usd": 0.1, "resources": [{"id": "a", "name": "gpu-a", "alive": True, "usd": 0.1}]}
    bill.stop("a")
    clock.advance(1e6)
    assert bill.as_json() == {"usd": 0.1, "resources": [{"id": "a", "name": "gpu-a", "alive": False, "usd": 0.1}]}
    assert bill.balance_usd() == pytest.approx(9.9)


def test_a_rate_that_changes_charges_what_came_before_at_the_old_one() -> None:
    clock = StillClock()
    bill = Bill(clock, balance_usd=10)
    bill.start("a", "gpu-a", 3.6)
    clock.advance(1000)
    bill.rate("a", 0.36)
    clock.advance(1000)
    assert bill.usd() == pytest.approx(1.1)
    assert bill.usd_per_hour() == 0.36


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 50)), max_size=8))
def test_the_bill_is_the_sum_of_time_by_rate_however_often_the_rate_changes(spans: list[tuple[float, float]]) -> None:
    clock = StillClock()
    bill = Bill(clock, balance_usd=0)
    bill.start("a", "a", 0.0)
    for seconds, usd_per_hour in spans:
        bill.rate("a", usd_per_hour)
        clock.advance(seconds)
    bill.stop("a")
    assert bill.usd() == pytest.approx(sum(seconds * rate / 3600 for seconds, rate in spans))


# HTTP


def test_a_route_takes_one_segment_or_all_that_is_left() -> None:
    routes = [Route("GET", "/a/{id}", lambda _: Response()), Route("*", "/b/{rest...}", lambda _: Response())]
    found = [
        Router(routes).find(Request(method, path, {}, {}, b""))
        for method, path in (("GET", "/a/x%20y"), ("PUT", "/b/1/2"), ("POST", "/a/1"), ("GET", "/a/1/2"))
    ]
    assert isinstance(found[0], tuple)
    assert found[0][1].params == {"id": "x y"}
    assert isinstance(found[1], tuple)
    assert found[1][1].params == {"rest": "1/2"}
    assert found[2:] == [["GET"], []]


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_the_right_ones(tiny: TinyCloud) -> None:
    assert httpx.get(f"{tiny.url}/nothing").status_code == 404
    refused = httpx.delete(f"{tiny.url}/machines")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_many_requests_pass_through_one_connection(tiny: TinyCloud) -> None:
    with httpx.Client(base_url=tiny.url) as client:
        assert [client.get("/machines/a/files/x/y").json() for _ in range(3)] == [{"name": "a", "path": "x/y"}] * 3


def test_an_answer_of_204_has_no_body_and_the_connection_goes_on() -> None:
    with served(lambda _: Response(204)) as url, httpx.Client(base_url=url) as client:
        assert [client.delete("/x").content for _ in range(2)] == [b"", b""]


def test_a_stream_arrives_as_it_comes(tiny: TinyCloud) -> None:
    with httpx.stream("GET", f"{tiny.url}/stream") as answer:
        assert next(answer.iter_lines()) == "tick"


def test_a_stream_is_closed_when_its_reader_has_left() -> None:
    closed = threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            while True:
                time.sleep(0.005)
                yield b"x" * 1000
        finally:
            closed.set()

    with served(lambda _: Response(200, parts())) as url:
        with httpx.stream("GET", url) as answer:
            next(answer.iter_bytes())
        assert closed.wait(5)


def test_a_reset_is_a_reset() -> None:
    def reset(_: Request) -> Response:
        raise Reset

    with served(reset) as url, pytest.raises(httpx.ReadError, match="reset"):
        httpx.get(url)


# A cloud's end


def test_a_client_that_is_killed_between_two_requests_is_no_trouble(tiny: TinyCloud) -> None:
    answering = threading.active_count()
    with socket.create_connection(("127.0.0.1", urlsplit(tiny.url).port or 0)) as client:
        until(lambda: threading.active_count() > answering)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: threading.active_count() == answering)


def test_nothing_is_left_when_a_cloud_stops_whatever_its_clients_are_doing() -> None:
    threads = set(threading.enumerate())
    with TinyCloud() as cloud, httpx.Client(base_url=cloud.url) as idle, httpx.stream("GET", f"{cloud.url}/stream"):
        idle.post("/machines")
        port = int(cloud.url.rpartition(":")[2])
        cloud.stop()
    assert set(threading.enumerate()) <= threads
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(tiny: TinyCloud) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(OSError, match="in use"):
        TinyCloud(port=int(tiny.url.rpartition(":")[2])).start()
    assert set(threading.enumerate()) <= threads


def test_a_cloud_that_is_stopping_starts_nothing_more() -> None:
    with TinyCloud() as cloud:
        cloud.stopping.set()
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{cloud.url}/machines")


def test_every_request_is_on_record(tiny: TinyCloud) -> None:
    httpx.post(f"{tiny.url}/machines?a=1", json={"x": 2}, headers={"Authorization": "Bearer k"})
    (request,) = tiny.requests
    assert (request.method, request.path, request.query, request.json()) == ("POST", "/machines", {"a": "1"}, {"x": 2})
    assert request.bearer == "k"


def test_the_bill_the_state_and_the_rules_are_there_over_http(tiny: TinyCloud) -> None:
    httpx.post(f"{tiny.url}/machines")
    (resource,) = httpx.get(f"{tiny.url}/_emulator/bill").json()["resources"]
    assert (resource["id"], resource["name"], resource["alive"]) == ("m1", "one", True)
    assert httpx.get(f"{tiny.url}/_emulator/state").json() == ["m1"]
    assert httpx.post(f"{tiny.url}/_emulator/misbehave", json=[{"do": "server-error"}]).status_code == 204
    assert httpx.post(f"{tiny.url}/machines").status_code == 500
    assert httpx.post(f"{tiny.url}/_emulator/misbehave", json=[{"do": "dance"}]).status_code == 400
    assert httpx.post(f"{tiny.url}/_emulator/misbehave", json=3).status_code == 400


# By hand


def test_the_command_prints_one_line_and_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- {do: rate-limit, call: list, retry_after: 7}\n")
    command = [*BY_HAND, "--misbehave", str(rules), "--speed", "60"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout as output:
        told = json.loads(output.readline())
        with urllib.request.urlopen(f"{told['url']}/_emulator/bill") as bill:
            assert json.load(bill) == {"usd": 0, "resources": []}
        key = {"Authorization": f"Bearer {told['env']['RUNPOD_API_KEY']}"}
        refused = httpx.get(f"{told['env']['GPU_RUNPOD_API_URL']}/pods", headers=key)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        process.send_signal(signal.SIGTERM)
        assert (process.wait(10), output.read()) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "cloud"),
        (("nowhere",), "nowhere"),
        (("runpod", "--engine", "steam"), "none', 'pretend', 'stub', 'vllm"),
        (("runpod", "--port", "99999"), "'99999' is no port"),
        (("runpod", "--speed", "0"), "'0' is no number above 0"),
        (("runpod", "--misbehave", "no/such/file"), "no/such/file: No such file"),
        (("runpod", "--misbehave", "pyproject.toml"), "pyproject.toml: neither YAML nor JSON"),
        (("runpod", "--misbehave", "recipes/smollm2-135m.yaml"), "expected a list of rules"),
    ],
)
def test_what_the_command_cannot_do_is_one_line_and_status_2(
    arguments: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CHECKOUT)
    with pytest.raises(SystemExit) as end:
        parser().parse_args(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert (end.value.code, complaint in line) == (2, True)


def test_a_port_that_is_taken_is_one_line_and_status_2(tiny: TinyCloud) -> None:
    port = tiny.url.rpartition(":")[2]
    ran = subprocess.run([*BY_HAND, "--port", port], cwd=CHECKOUT, capture_output=True, text=True)
    told = [line for line in ran.stderr.splitlines() if "OpenAPI" not in line]
    assert (ran.returncode, told) == (2, [f"python -m tests.emulators: port {port}: Address already in use"])


def test_what_runs_in_containers_ends_with_an_emulator_that_is_killed(tmp_path: Path) -> None:
    command = [*BY_HAND, "--engine", "stub"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout
    with process.stdout as output:
        told = json.loads(output.readline())
        body = new_pod(entrypoint=["python3", "-c"], cmd=["import time; time.sleep(1000)"])
        key = {"Authorization": f"Bearer {told['env']['RUNPOD_API_KEY']}"}
        assert httpx.post(f"{told['url']}/v2/pods", json=body, headers=key).status_code == 201
        until(lambda: any(process_tree.members(tmp_path)), 20)
        process.kill()
        process.wait()
    until(lambda: not any(process_tree.members(tmp_path)) and not any(tmp_path.iterdir()), 20)


def test_the_environment_points_at_the_emulator() -> None:
    with RunPodEmulator() as cloud:
        assert cloud.env["GPU_RUNPOD_API_URL"] == f"{cloud.url}/v2"
        assert cloud.env["GPU_RUNPOD_PROXY_URL"].format(pod="p", port=8000) == f"{cloud.url}/proxy/p/8000"
