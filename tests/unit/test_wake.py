"""Waking what scales to zero: one request at a time, however long its edge holds it and wherever it sends it."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from driver import wait_until
from fleets import FakeClock
from scripted_server import RESET, Reply, ScriptedServer, said

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.reach.chat_client import stream_answer
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused
from gpu_cli.fleet.reach.wake import POLL_S, WAKE_DEADLINE_S, Knock, wake
from gpu_providers.base import Secret

KEY = Secret("sk-1")
HELD_S = 0.3
HELD = Reply(200, delay_s=HELD_S)
PIECE = json.dumps({"choices": [{"delta": {"content": "Paris"}}]})
STREAM = f"data: {PIECE}\n\ndata: [DONE]\n\n"


def elsewhere(path: str, status: int = 303) -> Reply:
    """What Modal's edge says to who has waited for 150 s."""
    return Reply(status, headers={"Location": path})


@pytest.fixture
def notes() -> list[str]:
    return []


def test_what_is_up_is_asked_once_and_nothing_is_said(notes: list[str]) -> None:
    with ScriptedServer(Reply(200)) as server:
        wake(server.url, KEY, FakeClock(), notes.append)
    assert ([one.path for one in server.asked], notes) == (["/health"], [])


def test_a_client_that_was_closed_does_not_keep_the_next_one_from_asking() -> None:
    with ScriptedServer(Reply(200)) as server, EngineClient(server.url, KEY) as client:
        knock, closed = Knock(), EngineClient(server.url, KEY)
        closed.__exit__()
        with pytest.raises(RuntimeError):
            knock.is_answered(closed, within_s=5)
        assert knock.is_answered(client, within_s=5)


def test_while_its_edge_holds_a_request_no_second_one_is_made() -> None:
    with ScriptedServer(HELD) as server, EngineClient(server.url, KEY) as client:
        knock = Knock()
        looks = 0
        while not knock.is_answered(client):
            looks += 1
            time.sleep(0.01)
        assert knock.is_answered(client), "once it has been, it need not be asked again"
    assert (looks > 0, len(server.asked)) == (True, 1)


@pytest.mark.parametrize("refusal", [Reply(503), RESET, Reply(404)], ids=["503", "reset", "404"])
def test_an_edge_that_refuses_until_a_worker_is_up_is_asked_again_in_a_second(refusal: Reply, notes: list[str]) -> None:
    pauses: list[float] = []

    class Pausing(Clock):
        def sleep(self, seconds: float) -> None:
            pauses.append(seconds)
            time.sleep(0.05)

    with ScriptedServer(refusal, refusal, HELD) as server:
        wake(server.url, KEY, Pausing(), notes.append)
    assert notes == ["no worker is up: waking one"]
    assert set(pauses) == {POLL_S}
    assert len(server.asked) == 3


def test_a_worker_that_never_comes_up_is_not_waited_for_for_ever(notes: list[str]) -> None:
    clock = FakeClock()
    with pytest.raises(UserError) as refused:
        wake("http://127.0.0.1:9", KEY, clock, notes.append)
    assert (refused.value.exit_status, refused.value.code) == (Exit.NEVER_HEALTHY, "no-answer")
    assert clock.now() >= FakeClock().now() + WAKE_DEADLINE_S


def test_a_request_that_is_held_does_not_hold_up_who_gives_up_waiting() -> None:
    before, began_at = set(threading.enumerate()), time.monotonic()
    with ScriptedServer(Reply(200, delay_s=30)) as server:
        with EngineClient(server.url, KEY) as client:
            knock = Knock()
            assert not knock.is_answered(client, within_s=0.1)
            wait_until(lambda: server.asked)
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
        assert time.monotonic() - began_at < 10


def test_ctrl_c_ends_a_program_whose_request_is_held() -> None:
    program = (
        "import sys; from gpu_cli.fleet.clock import Clock; from gpu_cli.fleet.reach.wake import wake\n"
        "from gpu_providers.base import Secret; wake(sys.argv[1], Secret('sk'), Clock(), print)"
    )
    with ScriptedServer(Reply(200, delay_s=120)) as server:
        waiting = subprocess.Popen([sys.executable, "-c", program, server.url], stderr=subprocess.PIPE)
        wait_until(lambda: server.asked)
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=30)
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")


def test_who_is_sent_elsewhere_for_the_answer_goes_there_with_the_key() -> None:
    with (
        ScriptedServer(elsewhere("/health?call=1"), elsewhere("/health?call=2"), Reply(200)) as server,
        EngineClient(server.url, KEY) as client,
    ):
        assert client.is_healthy()
    assert [one.query for one in server.asked] == [{}, {"call": "1"}, {"call": "2"}]
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer sk-1"}


def test_the_answer_to_a_completion_is_fetched_and_the_completion_not_asked_for_twice() -> None:
    with (
        ScriptedServer(elsewhere("/v1/completions?call=1"), said({"choices": [{"text": " Paris"}]})) as server,
        EngineClient(server.url, KEY) as client,
    ):
        assert client.complete("tiny", timeout_s=5) == " Paris"
    assert [(one.method, bool(one.body)) for one in server.asked] == [("POST", True), ("GET", False)]


@pytest.mark.parametrize("status", [302, 303, 307])
def test_the_key_never_goes_to_another_host(status: int) -> None:
    with ScriptedServer(Reply(401), Reply(401)) as stranger:
        away = elsewhere(f"{stranger.url}/x", status)
        with ScriptedServer(away, away) as server, EngineClient(server.url, KEY) as client:
            assert not client.is_healthy()
            with pytest.raises(UserError, match="401"):
                list(stream_answer(f"{server.url}/v1", KEY, "tiny", [], repeatable=True))
    assert ["authorization" in one.headers for one in server.asked] == [True, True]
    assert ["authorization" in one.headers for one in stranger.asked] == [False, False]


def test_who_is_sent_in_circles_gives_up() -> None:
    circle = [elsewhere("/health")] * 21
    with ScriptedServer(*circle) as server, EngineClient(server.url, KEY) as client:
        assert not client.is_healthy()


def test_a_redirect_to_nowhere_is_a_refusal() -> None:
    with (
        ScriptedServer(Reply(303)) as server,
        EngineClient(server.url, KEY) as client,
        pytest.raises(EngineRefused, match="303"),
    ):
        client.models()


def test_a_chat_that_waits_for_a_worker_is_sent_elsewhere_for_its_answer() -> None:
    stream = Reply(200, STREAM, {"Content-Type": "text/event-stream"})
    with ScriptedServer(elsewhere("/v1/chat/completions?call=1"), stream) as server:
        pieces = list(stream_answer(f"{server.url}/v1", KEY, "tiny", [], repeatable=True))
    assert pieces == ["Paris"]
    assert [one.method for one in server.asked] == ["POST", "GET"]
