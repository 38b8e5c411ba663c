"""Web functions and Servers of the emulated Modal answer HTTP as Modal has been seen or documented to; each test names
one such fact. What runs in their containers is Modal's own runtime, the entry file that `gpu` deploys, and a small
server.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import modal
import pytest
from driver import PATIENCE_S, wait_until
from emulators import process_tree
from emulators.modal_cloud import ModalEmulator
from emulators.modal_cloud.containers import Container
from modal_proto import api_pb2

TEMPLATE = Path(__file__).parents[2] / "templates" / "modal_entry.py"
SERVER = r"""
import http.server, os, pathlib, socketserver, sys, time

GATES = pathlib.Path(__file__).parent

class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        getattr(self, name)(argument)

    do_POST = do_GET

    def echo(self, _):
        self.whole(f"{self.command} {self.path} {self.headers.get('x-said')} {self.body.decode()}")

    def pid(self, _):
        self.whole(str(os.getpid()))

    def env(self, name):
        self.whole(os.environ.get(name, ""))

    def hold(self, gate):
        self.wait_for(gate)
        self.whole(str(os.getpid()))

    def stream(self, gate):
        self.begin()
        for part in range(3):
            self.wait_for(f"{gate}-{part}")
            self.part(part)
        self.wfile.write(b"0\r\n\r\n")

    def endless(self, _):
        self.begin()
        try:
            while True:
                self.part(0)
                time.sleep(0.05)
        except OSError:
            print("hung up", flush=True)

    def wait_for(self, gate):
        while not (GATES / gate).exists():
            time.sleep(0.02)

    def begin(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def part(self, number):
        self.wfile.write(b"6\r\npart %d\r\n" % number)

    def whole(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

Server(("0.0.0.0", int(sys.argv[2])), Answering).serve_forever()
"""
REDIRECT_S = 1.0
MOST_REDIRECTS = 100
Deploy = Callable[..., "Deployed"]


@dataclass
class Deployed:
    """An app with one web function or one Server."""

    cloud: ModalEmulator
    app: modal.App
    made: Any
    url: str

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Whatever redirects it takes."""
        with http() as client:
            return client.get(f"{self.url}/{path}", **more)

    @property
    def containers(self) -> list[Container]:
        """So far."""
        return [one for one in self.cloud.containers_so_far if one.function.app_id == self.app.app_id]

    @property
    def living(self) -> list[Container]:
        return [one for one in self.containers if not one.finished_at]

    @property
    def loads(self) -> list[int]:
        """How many requests each living container works on."""
        return [one.work.load for one in self.living]

    def meters(self) -> list[dict[str, Any]]:
        return [one for one in self.cloud.bill()["resources"] if one["name"] == f"{self.app.name} worker"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[ModalEmulator]:
    """What takes the real one ten seconds takes one here."""
    with ModalEmulator(redirect_after_s=REDIRECT_S, speed=10.0) as cloud:
        yield cloud
        folders = [one.folder for one in cloud.containers_so_far]
    assert not any(folder.exists() for folder in folders)
    assert not [process for folder in folders for process in process_tree.members(folder)]


@pytest.fixture(scope="module")
def client(cloud: ModalEmulator) -> Iterator[modal.Client]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.env.items():
            patch.setenv(name, value)
        with modal.Client.from_credentials(cloud.account.token_id, cloud.account.token_secret) as client:
            yield client


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the server looks whether a request may go on."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(gates: Path) -> list[str]:
    """Its command."""
    (gates / "server.py").write_text(SERVER)
    return [sys.executable, str(gates / "server.py"), "--port", "8000"]


@pytest.fixture(scope="module")
def entry() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("modal_entry", TEMPLATE)
    assert spec
    assert spec.loader
    sys.modules["modal_entry"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["modal_entry"]


@pytest.fixture(scope="module")
def deploy(cloud: ModalEmulator, client: modal.Client, entry: Any, server: list[str]) -> Deploy:
    """Deploys a command, or the server, as a web function."""

    def deploy(
        name: str, *, command: Sequence[str] = (), inputs: int = 100, auth: bool = False, **more: Any
    ) -> Deployed:
        app = modal.App(name)
        web = modal.web_server(8000, startup_timeout=60, requires_proxy_auth=auth)
        settings: dict[str, Any] = {"startup_timeout": 60, "scaledown_window": 3600, **more}
        env = {"GPU_COMMAND": json.dumps(command or server), "CACHE": "/cache/of-it"}
        wrap = app.function(image=modal.Image.debian_slim(), env=env, **settings)
        made = wrap(modal.concurrent(max_inputs=inputs)(web(entry.serve)))
        app.deploy(client=client)
        return Deployed(cloud, app, made, made.get_web_url())

    return deploy


@pytest.fixture(scope="module")
def shared(deploy: Deploy) -> Deployed:
    """A web function for tests that do not disturb each other."""
    return deploy("shared", volumes={"/cache": modal.Volume.from_name("cache", create_if_missing=True)})


def http() -> httpx.Client:
    return httpx.Client(timeout=PATIENCE_S, follow_redirects=True, max_redirects=MOST_REDIRECTS)


def bearer(client: modal.Client, name: str) -> dict[str, str]:
    """The header of a new proxy token."""
    token = modal.Workspace.from_context(client=client).proxy_tokens.create(name=name)
    return {"Authorization": f"Bearer {token.token_id}.{token.token_secret}"}


def streamed(answer: httpx.Response, gates: Path, name: str) -> list[bytes]:
    """The parts of the server's stream, of which each is sent when the one before has been seen."""
    parts, seen = answer.iter_bytes(), []
    for number in range(3):
        (gates / f"{name}-{number}").touch()
        seen.append(next(parts))
    assert list(parts) == []
    return seen


# Requests


def test_a_request_wakes_a_container_and_is_answered_by_it_behind_redirects(shared: Deployed) -> None:
    assert shared.containers == []
    with http() as client:
        answer = client.post(f"{shared.url}/echo/it?a=1", content="body", headers={"x-said": "this"})
    assert (answer.status_code, answer.text) == (200, "POST /echo/it?a=1 this body")
    assert len(shared.living) == 1


def test_an_answer_is_streamed_part_by_part_for_longer_than_the_redirect_takes(shared: Deployed, gates: Path) -> None:
    assert shared.get("pid").status_code == 200
    with httpx.stream("GET", f"{shared.url}/stream/function", timeout=PATIENCE_S) as answer:
        time.sleep(REDIRECT_S)
        assert streamed(answer, gates, "function") == [b"part 0", b"part 1", b"part 2"]


def test_whoever_asks_for_the_result_again_must_do_so_by_get(shared: Deployed, gates: Path) -> None:
    redirect = httpx.get(f"{shared.url}/hold/result", timeout=PATIENCE_S)
    where = redirect.headers["location"]
    assert (redirect.status_code, where.startswith(f"{shared.url}/hold/result?")) == (303, True)
    (gates / "result").touch()
    with http() as client:
        again = client.post(where)
        assert (again.status_code, again.text) == (400, "modal-http: bad redirect method")
        assert client.get(where).status_code == 200
        gone = client.get(where)
    assert (gone.status_code, gone.text) == (404, "modal-http: invalid function call")


def test_who_hangs_up_ends_what_was_done_for_them(shared: Deployed) -> None:
    assert shared.get("pid").status_code == 200
    with httpx.stream("GET", f"{shared.url}/endless", timeout=PATIENCE_S) as answer:
        next(answer.iter_bytes())
    wait_until(lambda: any("hung up" in one.log for one in shared.containers))
    wait_until(lambda: shared.loads == [0])


def test_one_container_works_on_many_requests_at_once(shared: Deployed, gates: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(shared.get, "hold/many") for _ in range(8)]
        wait_until(lambda: shared.loads == [8])
        (gates / "many").touch()
    assert len({answer.result().text for answer in answers}) == 1


def test_variables_that_name_a_volume_lead_to_its_folder(cloud: ModalEmulator, shared: Deployed) -> None:
    (volume,) = cloud.volumes
    assert shared.get("env/CACHE").text == f"{volume.folder}/of-it"


# How many containers


def test_containers_come_with_the_requests_up_to_the_most_and_go_after_the_window_when_the_bill_stops(
    deploy: Deploy, gates: Path
) -> None:
    narrow = deploy("narrow", inputs=1, max_containers=2, scaledown_window=5)
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(narrow.get, "hold/narrow") for _ in range(3)]
        wait_until(lambda: narrow.loads == [1, 1])
        wait_until(lambda: narrow.living[0].function.backlog == 1)
        assert all(meter["alive"] and meter["usd"] > 0 for meter in narrow.meters())
        (gates / "narrow").touch()
    pids = {answer.result().text for answer in answers}
    assert len(pids) == 2

    wait_until(lambda: not narrow.living)
    assert [meter["alive"] for meter in narrow.meters()] == [False, False]
    assert [one.result.status for one in narrow.containers] == [api_pb2.GenericResult.GENERIC_STATUS_SUCCESS] * 2
    assert narrow.get("pid").text not in pids


def test_a_minimum_of_containers_is_up_without_a_request_until_it_is_lowered(deploy: Deploy) -> None:
    kept = deploy("kept", min_containers=1, scaledown_window=2)
    wait_until(lambda: [one.is_ready for one in kept.living] == [True])
    time.sleep(0.4)  # twice the window
    assert kept.living
    kept.made.autoscaler.update(min_containers=0)
    wait_until(lambda: not kept.living)


def test_gpus_are_the_first_of_the_list_that_there_are_and_a_container_waits_for_free_while_there_are_none(
    cloud: ModalEmulator, deploy: Deploy
) -> None:
    cloud.misbehave({"do": "no-capacity", "gpu": "H100"}, {"do": "no-capacity", "gpu": "A100", "times": 10})
    picky = deploy("picky", gpu=["H100!", "A100-80GB:2"])
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(picky.get, "pid")
        wait_until(lambda: picky.living)
        assert (picky.living[0].started_at, picky.meters()) == (0.0, [])
        assert answer.result().status_code == 200
    assert (picky.living[0].gpu.gpu_type, picky.living[0].gpu.count) == ("A100-80GB", 2)


# Containers that fail


def test_a_container_whose_command_dies_ends_with_its_status_and_requests_go_to_another_one(
    cloud: ModalEmulator, deploy: Deploy, gates: Path
) -> None:
    cloud.misbehave({"do": "crash-loop", "times": 2, "text": "so it is"})
    fragile = deploy("fragile")
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(fragile.get, "hold/fragile")
        wait_until(lambda: len(fragile.containers) == 3 and fragile.loads == [1])
        cloud.crash("fragile")
        wait_until(lambda: not fragile.containers[2].lives)
        (gates / "fragile").touch()
        held.result()  # whether it was told of the break before its container ended is a matter of moments
    assert fragile.get("hold/fragile").status_code == 200
    crashed, _, killed, _ = fragile.containers
    assert (crashed.log, crashed.result.exitcode, killed.result.exitcode) == (["so it is"], 1, 137)
    assert "gpu: engine ended with status 137" in killed.log
    assert [meter["usd"] > 0 for meter in fragile.meters()] == [True] * 4


def test_an_answer_that_has_begun_is_cut_off_when_its_container_is_preempted(
    cloud: ModalEmulator, shared: Deployed
) -> None:
    assert shared.get("pid").status_code == 200
    with httpx.stream("GET", f"{shared.url}/endless", timeout=PATIENCE_S) as answer:
        parts = answer.iter_bytes()
        next(parts)
        cloud.preempt("shared")
        with pytest.raises(httpx.TransportError):
            list(parts)
    assert shared.containers[-1].result.exception == "it was preempted"


def test_a_container_that_is_not_ready_in_time_is_ended_and_replaced_while_somebody_waits(
    client: modal.Client, deploy: Deploy
) -> None:
    slow = deploy("slow", command=["sleep", "600"], startup_timeout=1)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(slow.get, "pid")
        wait_until(lambda: len(slow.containers) > 1)
        slow.app.stop(client=client)
        assert answer.result().status_code == 404
    assert slow.containers[0].result.exception == "Runner has been initializing for too long: 1 seconds"


# Who may ask, and for how long


def test_without_a_token_nothing_starts(deploy: Deploy) -> None:
    guarded = deploy("guarded", auth=True)
    wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer wk-1.ws-1"}]
    assert [guarded.get("pid", headers=headers).status_code for headers in wrong] == [401, 401]
    assert guarded.containers == []


def test_a_request_may_not_take_longer_than_its_function_and_a_stopped_app_answers_that_it_is(
    client: modal.Client, deploy: Deploy
) -> None:
    headers = bearer(client, "brief")
    brief = deploy("brief", auth=True, timeout=3)
    late = brief.get("hold/for-ever", headers=headers)
    assert (late.status_code, late.text) == (500, "modal-http: internal error: function execution timed out")
    brief.app.stop(client=client)
    gone = brief.get("pid", headers=headers)
    assert (gone.status_code, gone.text) == (404, "modal-http: app for invoked web endpoint is stopped")
    wait_until(lambda: not brief.living)


# Servers


def test_a_server_refuses_until_it_is_ready_which_a_request_brings_about_and_goes_after_its_window(
    cloud: ModalEmulator, client: modal.Client, entry: Any, server: list[str], gates: Path
) -> None:
    app = modal.App("direct")
    env = {"GPU_COMMAND": json.dumps(server)}
    made = app.server(image=modal.Image.debian_slim(), env=env, startup_timeout=60, scaledown_window=3600)(entry.Server)
    app.deploy(client=client)
    direct, headers = Deployed(cloud, app, made, made.get_url()), bearer(client, "direct")

    assert (direct.get("pid").status_code, direct.containers) == (401, [])
    assert direct.get("pid", headers=headers).status_code == 503
    wait_until(lambda: direct.get("pid", headers=headers).status_code == 200)
    with httpx.stream("GET", f"{direct.url}/stream/server", headers=headers, timeout=PATIENCE_S) as answer:
        assert streamed(answer, gates, "server") == [b"part 0", b"part 1", b"part 2"]

    made.autoscaler.update(scaledown_window=2)
    wait_until(lambda: not direct.living)
    assert direct.containers[0].result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
