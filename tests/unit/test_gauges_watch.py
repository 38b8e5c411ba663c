"""Looking at all that lives: together, bounded in time, and without waking anything."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from driver import wait_until
from fleets import NOW, FakeClock, deployment, make_fleet

from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.gauges.watch import NO_ANSWER, Watch
from gpu_providers.base import Kind

LONG_S = 30.0
"""For an answer that has to come, on a busy machine."""


class Engine:
    """A vLLM's metrics and a supervisor's status, over HTTP."""

    def __init__(self) -> None:
        self.status = '{"gpu_memory_used_gib": 70.5, "gpu_memory_total_gib": 79.6}'
        self.output_tokens = 100
        self.refuses = False
        self.asked: list[str] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.asked.append(self.path)
                text = engine.status if self.path == "/_gpu/supervisor" else engine.metrics()
                self.send_response(401 if engine.refuses else 200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def metrics(self) -> str:
        return (
            "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n"
            f"vllm:prompt_tokens_total 10\nvllm:generation_tokens_total {self.output_tokens}\n"
        )


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    thread = threading.Thread(target=engine.http.serve_forever, args=(0.02,))
    thread.start()
    yield engine
    engine.http.shutdown()
    engine.http.server_close()
    thread.join()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(tmp_path: Path, clock: FakeClock) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path, clock=clock)
    with closing(fleet.store):
        yield fleet


@pytest.fixture
def watch(fleet: Fleet) -> Iterator[Watch]:
    with closing(Watch(fleet)) as watch:
        yield watch


def add(fleet: Fleet, name: str, **changes: object) -> None:
    fleet.store.add(deployment(name, **changes))
    fleet.keys.create(f"gpu-{name}-1")


def test_each_look_tells_what_happened_since_the_last_one(
    fleet: Fleet, watch: Watch, engine: Engine, clock: FakeClock
) -> None:
    add(fleet, "tiny", endpoint=engine.url)
    [first] = watch.look(LONG_S)
    assert (first.running, first.output_tokens_per_s, first.gpu_memory_used_gib, first.problem) == (1, None, 70.5, "")
    engine.output_tokens += 30
    clock.time += 2
    assert [one.output_tokens_per_s for one in watch.look(LONG_S)] == [15]


def test_what_scales_to_zero_is_not_woken_and_what_is_not_ready_is_not_asked(
    fleet: Fleet, watch: Watch, engine: Engine
) -> None:
    add(fleet, "serverless", endpoint=engine.url, kind=Kind.SERVERLESS)
    add(fleet, "loading", endpoint=engine.url, state=State.LOADING, created_at=NOW + 1)
    told = [(one.deployment.name, one.running, one.problem) for one in watch.look(LONG_S)]
    assert told == [("serverless", None, ""), ("loading", None, "")]
    assert engine.asked == []


def test_an_engine_that_hangs_is_not_waited_for_nor_asked_again_and_the_others_are_seen(
    fleet: Fleet, watch: Watch, engine: Engine
) -> None:
    problems: dict[str, str] = {}

    def is_seen() -> bool:
        problems.update({one.deployment.name: one.problem for one in watch.look(0.3)})
        return problems["tiny"] == ""

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        add(fleet, "hung", endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        add(fleet, "tiny", endpoint=engine.url)
        wait_until(is_seen)
        assert problems["hung"] == NO_ANSWER
        watch.look(0.0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_an_answer_that_comes_late_is_seen_with_the_next_look(fleet: Fleet, watch: Watch, engine: Engine) -> None:
    add(fleet, "tiny", endpoint=engine.url)
    assert [one.problem for one in watch.look(0.0)] == [NO_ANSWER]
    wait_until(lambda: watch.look(0.1)[0].running == 1)


def test_what_stands_in_the_way_is_told_in_one_line(fleet: Fleet, watch: Watch, engine: Engine) -> None:
    engine.refuses = True
    add(fleet, "refused", endpoint=engine.url)
    fleet.store.add(deployment("keyless", endpoint=engine.url))
    add(fleet, "gone", endpoint="http://127.0.0.1:9")
    problems = {one.deployment.name: one.problem for one in watch.look(LONG_S)}
    assert problems["refused"].startswith("/metrics answered 401: vllm:num_requests_running 1 vllm:")
    assert problems == {**problems, "keyless": "its key is not on this machine", "gone": NO_ANSWER}


@pytest.mark.parametrize("status", ['{"gpu_memory_used_gib": null}', "{}", "not json"])
def test_without_a_card_that_tells_there_is_no_memory(fleet: Fleet, watch: Watch, engine: Engine, status: str) -> None:
    engine.status = status
    add(fleet, "tiny", endpoint=engine.url)
    assert [(one.gpu_memory_used_gib, one.running) for one in watch.look(LONG_S)] == [(None, 1)]
