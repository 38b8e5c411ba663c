"""The supervisor as it runs on a node: a real process, a real engine process, real signals, sockets and files."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fake_engine
import pytest
from fake_engine import metrics_text

from gpu_cli.paths import shipped

KEY = "sk-secret"
CLOUD_KEY = "cloud-secret"
PATIENCE_S = 20.0


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def group_is_gone(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Node:
    """A machine: a supervisor that may be killed and started again, its engine's script, and its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.script_path = folder / "script.json"
        self.output_path = folder / "output.txt"
        self.output_path.touch()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.engine_pids: set[int] = set()
        self.process: subprocess.Popen[bytes] | None = None
        self.environ = {**os.environ, "VLLM_API_KEY": KEY, "CLOUD_KEY": CLOUD_KEY}
        self.config: dict[str, Any] = {
            "version": 1,
            "name": "gpu-test",
            "engine": [sys.executable, fake_engine.__file__, str(self.port), str(self.script_path)],
            "port": self.port,
            "scheme": "http",
            "idle_s": 60,
            "deadline_s": 60,
            "start_deadline_s": 60,
            "hung_s": 60,
            "state_dir": str(self.state),
            "destroy": None,
            "engine_env_without": ["CLOUD_KEY"],
            "tick_s": 0.05,
            "grace_s": 5.0,
        }
        self.script()

    def script(self, **fields: object) -> None:
        """What the engine does from now on."""
        temporary = self.script_path.with_suffix(".new")
        temporary.write_text(json.dumps(fields))
        temporary.replace(self.script_path)

    def start(self, **config: object) -> None:
        self.config.update(config)
        with self.output_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(shipped("templates") / "supervisor.py")],
                env={**self.environ, "GPU_SUPERVISOR": json.dumps(self.config)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_serving(self, **config: object) -> None:
        self.start(**config)
        self.wait_for_phase("serving")

    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.state / "status.json").read_text())
        except FileNotFoundError:
            return {"phase": None, "engine_pid": None, "supervisor_pid": None}
        if status["engine_pid"]:
            self.engine_pids.add(status["engine_pid"])
        return status

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.state / "supervisor.json").read_text())
        return record

    def wait_for_phase(self, phase: str) -> None:
        assert self.process
        process = self.process
        mine = {"phase": phase, "supervisor_pid": process.pid}
        eventually(lambda: mine.items() <= self.status().items() or process.poll() is not None, phase)
        assert self.status()["phase"] == phase, self.output()

    def ended(self) -> int:
        """Waits for the supervisor's own end: its exit status."""
        assert self.process
        return self.process.wait(timeout=PATIENCE_S)

    def send(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def lose_power(self) -> None:
        """As when a container is killed: every process is gone at once."""
        self.clean()
        eventually(lambda: not self.port_answers(), "the engine's silence")

    def port_answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def output(self) -> str:
        return self.output_path.read_text()

    def clean(self) -> None:
        self.status()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.engine_pids:
            if not group_is_gone(pid):
                os.killpg(pid, signal.SIGKILL)
        self.engine_pids.clear()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.clean()
    assert KEY not in node.output()
    assert CLOUD_KEY not in node.output()
    for file in node.state.glob("*"):
        assert KEY not in file.read_text()


class Cloud:
    """A cloud's API over real HTTP: refuses for a while (a key, with the status of what is gone), then destroys."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        self.failures = 0
        self.refusals = 0
        self.gone = False
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                self.reply()

            def do_GET(self) -> None:
                self.reply()

            def reply(self) -> None:
                cloud.requests.append((self.command, self.path, self.headers["Authorization"]))
                status, text = cloud.answer(self.command)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_request(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, method: str) -> tuple[int, str]:
        if self.refusals:
            self.refusals -= 1
            return 404, "auth_error"
        if method == "GET":
            return (404, "no_such_pod") if self.gone else (200, "{}")
        if self.failures:
            self.failures -= 1
            return 500, ""
        self.gone = True
        return 200, "{}"

    def destroy_by(self) -> dict[str, object]:
        pod = f"http://127.0.0.1:{self.server.server_port}/pods/{{POD_ID}}"
        return {
            "method": "DELETE",
            "url": pod,
            "headers": {"Authorization": "Bearer {CLOUD_KEY}"},
            "body": "",
            "check": {"method": "GET", "url": pod},
            "gone": [[404, "no_such_pod"]],
            "user_agent": "gpu-supervisor/1",
        }

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.requests]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cloud(node: Node) -> Iterator[Cloud]:
    node.environ["POD_ID"] = "pod1"
    cloud = Cloud()
    yield cloud
    cloud.close()


# --- ends ------------------------------------------------------------------------------------------------------------


def test_idle_engine_is_ended_and_a_final_record_stays(node: Node) -> None:
    node.start(idle_s=0.4)
    assert node.ended() == 0
    status = node.status()
    assert (status["phase"], status["reason"], status["detail"]) == ("ended", "idle", "no work for 0.4 s")
    assert status["engine_exit"] == -signal.SIGTERM
    assert status["idle_for_s"] >= 0.4
    assert group_is_gone(status["engine_pid"])
    assert node.record()["ending"]["reason"] == "idle"
    lines = node.output().splitlines()
    assert lines[0] == "[supervisor] armed idle_s=0.4 deadline_s=60 start_deadline_s=60"
    assert lines[-1] == "[supervisor] ended reason=idle detail=no work for 0.4 s"
    assert "engine started" in lines


def test_memory_of_the_visible_cards_is_told(node: Node, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = --id=1,3 ] && echo "40960, 81920" && echo "1024, 81920"\n')
    program.chmod(0o755)
    node.environ |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "1,3"}
    node.start()
    eventually(lambda: node.status().get("gpu_memory_total_gib") == 160.0, "the cards' memory")
    assert node.status()["gpu_memory_used_gib"] == 41.0


def test_long_request_keeps_it_alive_and_idleness_counts_from_its_end(node: Node) -> None:
    node.script(metrics=metrics_text(running=1))
    node.start_serving(idle_s=0.3)
    for tokens in range(12):
        node.script(metrics=metrics_text(running=1, tokens=tokens))
        time.sleep(0.1)
        assert node.status()["phase"] == "serving"
    finished_at = time.time()
    node.script(metrics=metrics_text(finished=1, tokens=12))
    assert node.ended() == 0
    status = node.status()
    assert (status["reason"], status["requests_finished"]) == ("idle", 1)
    assert status["beat_at"] - finished_at >= 0.3


def test_short_requests_that_no_look_sees_running_keep_it_alive(node: Node) -> None:
    node.start_serving(idle_s=1.0)
    for finished in range(1, 9):
        node.script(metrics=metrics_text(finished=finished))
        time.sleep(0.25)
        assert node.status()["phase"] == "serving"


def test_deadline_ends_it_whatever_is_running(node: Node) -> None:
    node.script(metrics=metrics_text(running=3, waiting=2))
    node.start(deadline_s=1, idle_s=0.2)
    assert node.ended() == 0
    assert node.status()["reason"] == "deadline"
    assert 1 <= node.status()["elapsed_s"] < 4


def test_a_disk_that_a_restart_wiped_does_not_reset_the_deadline(node: Node) -> None:
    node.start_serving(deadline_s=600, launched_at=time.time() - 300)
    assert 300 <= node.status()["elapsed_s"] < 320
    node.lose_power()
    shutil.rmtree(node.state)
    node.start(launched_at=time.time() - 600)
    assert node.ended() == 0
    assert node.status()["reason"] == "deadline"


def test_loading_is_not_idleness_but_has_its_own_deadline(node: Node) -> None:
    node.script(models=503)
    node.start(idle_s=0.1, hung_s=0.1, start_deadline_s=0.8)
    assert node.ended() == 1
    status = node.status()
    assert (status["reason"], status["ready_at"], status["idle_for_s"]) == ("start-deadline", None, None)


@pytest.mark.parametrize(
    ("fields", "detail"), [({"exit": 3}, "exit status 3"), ({"exit": 0}, "exit status 0")], ids=["error", "zero"]
)
def test_engine_that_exits_is_a_dead_engine(node: Node, fields: dict[str, Any], detail: str) -> None:
    node.script(**fields)
    node.start()
    assert node.ended() == 1
    status = node.status()
    assert (status["reason"], status["detail"], status["engine_exit"]) == ("engine-died", detail, fields["exit"])


def test_engine_that_is_killed_is_a_dead_engine(node: Node) -> None:
    node.start_serving()
    os.kill(node.status()["engine_pid"], signal.SIGKILL)
    assert node.ended() == 1
    assert (node.status()["reason"], node.status()["detail"]) == ("engine-died", "killed by SIGKILL")


def test_engine_that_cannot_be_started_is_a_dead_engine(node: Node) -> None:
    node.start(engine=["/nowhere/engine"])
    assert node.ended() == 1
    assert node.status()["reason"] == "engine-died"
    assert "No such file" in node.status()["detail"]


def test_metrics_that_hang_end_it_as_hung_and_never_as_idle(node: Node) -> None:
    node.start_serving(idle_s=2, hung_s=0.6)
    node.script(hang="/metrics")
    assert node.ended() == 1
    assert (node.status()["reason"], node.status()["detail"]) == ("engine-hung", "metrics silent for 0.6 s")


def test_hanging_server_does_not_delay_the_deadline(node: Node) -> None:
    node.script(hang="/health")
    started = time.monotonic()
    node.start(deadline_s=0.6)
    assert node.ended() == 0
    assert node.status()["reason"] == "deadline"
    assert time.monotonic() - started < 30


def test_unhealthy_engine_with_readable_metrics_is_hung_and_never_idle(node: Node) -> None:
    node.start_serving(idle_s=1, hung_s=0.4)
    node.script(health=503)
    assert node.ended() == 1
    assert node.status()["reason"] == "engine-hung"


def test_claimed_work_without_progress_is_a_hung_engine(node: Node) -> None:
    node.start_serving(idle_s=0.3, hung_s=0.6)
    node.script(metrics=metrics_text(running=1, tokens=7))
    assert node.ended() == 1
    assert (node.status()["reason"], node.status()["detail"]) == ("engine-hung", "requests without progress for 0.6 s")


# --- signals and processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_engine_and_leaves_the_resource_to_its_sender(node: Node, cloud: Cloud, number: int) -> None:
    node.start_serving(destroy=cloud.destroy_by())
    node.send(number)
    assert node.ended() == 0
    assert node.status()["reason"] == "terminated"
    assert group_is_gone(node.status()["engine_pid"])
    assert cloud.requests == []


def test_lost_terminal_changes_nothing(node: Node) -> None:
    node.start_serving(idle_s=0.5)
    node.send(signal.SIGHUP)
    assert node.ended() == 0
    assert node.status()["reason"] == "idle"


def test_engine_that_ignores_sigterm_is_killed_after_its_grace(node: Node) -> None:
    node.script(ignore_term=True)
    node.start_serving(idle_s=0.2, grace_s=0.5)
    assert node.ended() == 0
    assert node.status()["engine_exit"] == -signal.SIGKILL


def test_engine_that_is_still_loading_is_not_waited_for(node: Node) -> None:
    node.script(ignore_term=True, health=503)
    node.start(grace_s=120)
    eventually(lambda: answers(node.port), "an engine that loads")
    node.send(signal.SIGTERM)
    assert node.ended() == 0
    assert node.status()["engine_exit"] == -signal.SIGKILL


def test_second_signal_cuts_the_grace_short(node: Node) -> None:
    node.script(ignore_term=True)
    node.start_serving(grace_s=120)
    node.send(signal.SIGTERM)
    node.wait_for_phase("ending")
    node.send(signal.SIGTERM)
    assert node.ended() == 0
    assert node.status()["engine_exit"] == -signal.SIGKILL


def test_workers_that_outlive_the_engine_are_ended_too(node: Node) -> None:
    worker = "import time,signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    engine = f"import subprocess,sys,time; subprocess.Popen([sys.executable,'-c',{worker!r}]); time.sleep(0.5)"
    node.start(engine=[sys.executable, "-c", engine], grace_s=0.3)
    assert node.ended() == 1
    assert node.status()["reason"] == "engine-died"
    assert group_is_gone(node.status()["engine_pid"])


def test_engine_gets_its_key_and_status_path_but_not_the_clouds_credential(node: Node) -> None:
    told = node.folder / "engine-environ.json"
    code = f"import json,os; json.dump(dict(os.environ), open({str(told)!r}, 'w'))"
    node.start(engine=[sys.executable, "-c", code])
    node.ended()
    environ = json.loads(told.read_text())
    assert environ["VLLM_API_KEY"] == KEY
    assert environ["GPU_SUPERVISOR_STATUS"] == str(node.state / "status.json")
    assert "CLOUD_KEY" not in environ
    assert "GPU_SUPERVISOR" not in environ


# --- restarts and disk -----------------------------------------------------------------------------------------------


def test_restart_does_not_give_time_back(node: Node) -> None:
    node.start_serving()
    started_at = node.status()["started_at"]
    node.lose_power()
    time.sleep(0.5)
    node.start_serving()
    status = node.status()
    assert status["started_at"] == started_at
    assert status["elapsed_s"] == pytest.approx(status["beat_at"] - started_at, abs=0.1)


def test_restart_after_the_deadline_never_starts_the_engine(node: Node, cloud: Cloud) -> None:
    node.start_serving(destroy=cloud.destroy_by())
    node.lose_power()
    node.output_path.write_text("")
    node.start(deadline_s=0.1)
    assert node.ended() == 0
    assert node.status()["reason"] == "deadline"
    assert "engine started" not in node.output()
    assert cloud.gone


def test_restart_while_ending_goes_on_destroying_and_never_starts_the_engine(node: Node, cloud: Cloud) -> None:
    cloud.failures = 10**6
    node.start(idle_s=0.2, destroy=cloud.destroy_by())
    eventually(lambda: "DELETE" in cloud.methods(), "the first attempt")
    node.lose_power()
    node.output_path.write_text("")
    cloud.failures = 0
    node.start()
    assert node.ended() == 0
    assert cloud.gone
    assert node.status()["reason"] == "idle"
    assert "engine started" not in node.output()


@pytest.mark.parametrize("content", ["", '{"version": 1, "elapsed_s": -5}'])
def test_corrupt_record_is_told_and_counts_anew(node: Node, content: str) -> None:
    node.state.mkdir()
    (node.state / "supervisor.json").write_text(content)
    node.start_serving()
    assert "supervisor.json cannot be read" in node.output()
    assert node.record()["elapsed_s"] < 30


def test_record_of_another_resource_does_not_count(node: Node) -> None:
    node.start(idle_s=0.2)
    assert node.ended() == 0
    node.start_serving(name="gpu-other", idle_s=60)
    assert "another resource" in node.output()


def test_disk_that_cannot_be_written_is_told_once_and_stops_nothing(node: Node) -> None:
    blocker = node.folder / "file"
    blocker.write_text("")
    node.start(idle_s=0.4, state_dir=str(blocker / "state"))
    assert node.ended() == 0
    assert "ended reason=idle" in node.output()
    assert node.output().count("cannot write") == 1


# --- destroying ------------------------------------------------------------------------------------------------------


def test_resource_is_destroyed_with_the_credential_after_the_engine_is_gone(node: Node, cloud: Cloud) -> None:
    node.start(idle_s=0.2, destroy=cloud.destroy_by())
    assert node.ended() == 0
    assert cloud.requests == [
        ("DELETE", "/pods/pod1", f"Bearer {CLOUD_KEY}"),
        ("GET", "/pods/pod1", f"Bearer {CLOUD_KEY}"),
    ]


def test_dead_engine_destroys_the_resource(node: Node, cloud: Cloud) -> None:
    node.script(exit=1)
    node.start(destroy=cloud.destroy_by())
    assert node.ended() == 1
    assert cloud.gone


def test_destroying_is_retried_until_the_cloud_says_gone_and_the_status_keeps_beating(node: Node, cloud: Cloud) -> None:
    cloud.failures = 2
    node.start(idle_s=0.1, destroy=cloud.destroy_by())
    eventually(lambda: "DELETE answered 500" in node.status().get("detail", ""), "the problem in the status")
    assert node.status()["phase"] == "ending"
    beat_at = node.status()["beat_at"]
    eventually(lambda: node.status()["beat_at"] > beat_at, "another beat")
    assert node.ended() == 0
    assert cloud.methods() == ["DELETE", "GET"] * 3
    assert node.status()["detail"] == "no work for 0.1 s"


def test_resource_that_is_gone_already_counts_as_destroyed(node: Node, cloud: Cloud) -> None:
    gone = cloud.destroy_by() | {"method": "GET"}
    cloud.gone = True
    node.start(idle_s=0.1, destroy=gone)
    assert node.ended() == 0
    assert len(cloud.requests) == 1


def test_a_refused_key_with_the_status_of_what_is_gone_does_not_end_the_destroying(node: Node, cloud: Cloud) -> None:
    cloud.refusals = 2
    node.start(idle_s=0.1, destroy=cloud.destroy_by())
    assert node.ended() == 0
    assert cloud.methods() == ["DELETE", "GET"] * 2
    assert cloud.gone


@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_without_its_credential_it_says_so_at_once_and_only_ends_the_engine(
    node: Node, cloud: Cloud, value: str | None
) -> None:
    del node.environ["CLOUD_KEY"]
    node.environ |= {} if value is None else {"CLOUD_KEY": value}
    node.start(idle_s=0.3, destroy=cloud.destroy_by())
    assert node.ended() == 0
    status = node.status()
    assert (status["phase"], status["reason"], status["can_destroy"]) == ("ended", "idle", False)
    assert group_is_gone(status["engine_pid"])
    assert cloud.requests == []
    said = "[supervisor] cannot destroy this resource: CLOUD_KEY not set in this container; "
    assert node.output().splitlines()[1] == f"{said}at the end it stops the engine and exits"


def test_a_restart_without_the_credential_exits_again_and_never_starts_the_engine(node: Node, cloud: Cloud) -> None:
    del node.environ["CLOUD_KEY"]
    node.start(idle_s=0.2, destroy=cloud.destroy_by())
    assert node.ended() == 0
    node.output_path.write_text("")
    node.start()
    assert node.ended() == 0
    assert node.status()["reason"] == "idle"
    assert "engine started" not in node.output()


def test_the_status_says_whether_this_node_can_destroy_its_resource(node: Node, cloud: Cloud) -> None:
    node.start_serving(destroy=cloud.destroy_by())
    assert node.status()["can_destroy"] is True
    node.lose_power()
    node.start_serving(destroy=None)
    assert node.status()["can_destroy"] is False
    assert "cannot destroy" not in node.output()


def test_redirect_of_the_cloud_never_takes_the_credential_elsewhere(node: Node, cloud: Cloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.5)
        port = elsewhere.getsockname()[1]
        redirects = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=answer_with_redirect, args=(redirects, port)).start()
        destroy = cloud.destroy_by() | {"url": f"http://127.0.0.1:{redirects.getsockname()[1]}/pods/1"}
        node.start(idle_s=0.1, destroy=destroy)
        eventually(lambda: "DELETE answered 307" in node.output(), "the redirect as a problem")
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def answer_with_redirect(server: socket.socket, port: int) -> None:
    with server, server.accept()[0] as connection:
        connection.recv(65536)
        reply = f"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(reply.encode())


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"idle_s": -1}, {"engine": []}, {"idel_s": 3}])
def test_bad_configuration_is_one_line_and_exit_2(node: Node, change: dict[str, object]) -> None:
    node.start(**change)
    assert node.ended() == 2
    assert len(node.output().splitlines()) == 1
    assert not node.state.exists()


def test_no_key_is_a_bad_configuration(node: Node) -> None:
    del node.environ["VLLM_API_KEY"]
    node.start()
    assert node.ended() == 2
    assert "VLLM_API_KEY" in node.output()
