"""`gpu check`, and `gpu up --check`: what is promised is checked, and nothing is handed over that does not hold it."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from threading import Event

import pytest
from broken_server import CONTEXT_TOKENS, BrokenServer, Document, serving
from conftest import WriteRecipe
from driver import PATIENCE_S, Gpu, wait_until

KEY = "sk-of-the-endpoint"
FINDING_KEYS = ["id", "name", "outcome", "promised", "detail", "seconds"]


class Hanging(BrokenServer):
    """It hangs when many ask at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = Event(), Event()

    def _said(self, request: Document) -> Document:
        if "please" in request["messages"][-1]["content"]:
            self.asked.set()
            self.let_go.wait(PATIENCE_S)
        return super()._said(request)


@pytest.fixture
def promising(recipe: WriteRecipe) -> Callable[..., str]:
    """Writes a recipe that promises all that can be, and whose engine has these faults."""

    def write(*faults: str) -> str:
        promised = {"tool_call_parser": "hermes", "reasoning_parser": "qwen3", "context": CONTEXT_TOKENS}
        return str(recipe("tiny", misbehaviour={"chats": faults}, concurrency=3, **promised))

    return write


def test_an_endpoint_by_its_url_is_checked_with_the_key_of_the_environment(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    with serving(BrokenServer("no-stream-usage", "invented-tool")) as base_url:
        unset = gpu("check", base_url)
        assert (unset.exit, "OPENAI_API_KEY is not set" in unset.stderr) == (4, True)
        checked = gpu("check", base_url, "--json", env={"OPENAI_API_KEY": KEY})
        refused = gpu("check", base_url, "--json", env={"OPENAI_API_KEY": "sk-wrong"})
    assert checked.exit == 6, checked.stderr
    assert list(checked.json) == ["version", "name", "base_url", "model", "recipe", "ok", "failed", "checks"]
    assert (checked.json["name"], checked.json["recipe"], checked.json["model"]) == (None, None, "tiny")
    assert (checked.json["ok"], checked.json["failed"]) == (False, ["stream-usage"])
    outcomes = {one["id"]: one["outcome"] for one in checked.json["checks"]}
    assert [list(one) for one in checked.json["checks"]] == [FINDING_KEYS] * len(outcomes)
    assert outcomes["tool-call"] == "cannot", "no recipe promises tool calls"
    assert "tool-call-forced" not in checked.json["failed"]
    assert KEY not in checked.stdout + checked.stderr
    assert (refused.exit, refused.error["code"]) == (4, "key-refused")


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "http://", "https://user:password@host/v1", "https://host/v1?key=password"]
)
def test_what_is_no_base_url_is_refused_without_repeating_it(gpu: Gpu, url: str) -> None:
    checked = gpu("check", url, env={"OPENAI_API_KEY": KEY})
    assert checked.exit == 2
    assert "password" not in checked.stderr


def test_the_key_is_not_sent_where_others_can_read_it(gpu: Gpu) -> None:
    checked = gpu("check", "http://gpu.example.com/v1", "--json", env={"OPENAI_API_KEY": KEY})
    assert (checked.exit, checked.error["code"]) == (6, "plain-http"), "nobody was looked for"


def test_ctrl_c_ends_the_checks_and_keeps_what_they_have_found(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Hanging()
    with serving(server) as base_url:
        checking = gpu.start("check", base_url)
        assert server.asked.wait(PATIENCE_S)
        checking.signal(signal.SIGINT)
        checked = checking.result()
        server.let_go.set()
    assert checked.exit == 130
    assert "closed-routes" in checked.stderr


def test_an_endpoint_where_nobody_is_did_not_answer(gpu: Gpu, free_port: int) -> None:
    checked = gpu("check", f"http://127.0.0.1:{free_port}", "--json", env={"OPENAI_API_KEY": KEY})
    assert (checked.exit, checked.error["code"]) == (6, "no-answer")


def test_up_hands_over_what_holds_and_check_finds_the_same_by_its_recipe(
    gpu: Gpu, promising: Callable[..., str]
) -> None:
    up = gpu("up", promising(), "--check")
    assert up.exit == 0, up.stderr
    assert len(up.stdout.splitlines()) == 1
    assert "tool-calls-parallel" in up.stderr
    checked = gpu("check", "--json")
    assert checked.exit == 0, checked.stdout
    assert (checked.json["name"], checked.json["recipe"], checked.json["ok"]) == ("tiny", "tiny", True)
    assert all(one["promised"] and one["outcome"] == "ok" for one in checked.json["checks"])
    assert f"{len(checked.json['checks'])} of {len(checked.json['checks'])} checks hold" in checked.stderr
    gpu("down")


def test_what_does_not_hold_is_ended_again_with_the_names_of_what_failed(
    gpu: Gpu, promising: Callable[..., str]
) -> None:
    up = gpu("up", promising("long-prompt-cut", "stop-ignored"), "--check", "--json")
    assert (up.exit, up.error["code"]) == (6, "check-failed")
    assert up.error["message"].endswith(": stop, context-exceeded")
    assert up.json["check"]["failed"] == ["stop", "context-exceeded"]
    assert "FAILS" in up.stderr
    assert [(one["state"], one["reason"].split(":")[0]) for one in gpu.ls()] == [("failed", "check-failed")]
    assert gpu.engines() == []


def test_what_was_up_before_is_left_as_it_is_and_used_unchecked_unless_asked(
    gpu: Gpu, promising: Callable[..., str]
) -> None:
    path = promising("stop-ignored")
    assert gpu("up", path).exit == 0
    up = gpu("up", path, "--check")
    assert up.exit == 6
    assert "it was up before, and is left as it is" in up.stderr
    command = [sys.executable, "-X", "importtime", "-m", "gpu_cli", "up", path]
    unchecked = subprocess.run(command, cwd=gpu.cwd, capture_output=True, text=True, check=True)
    assert unchecked.stdout == gpu("url").stdout
    assert "gpu_cli.commands.up_check\n" in unchecked.stderr
    assert "openai\n" not in unchecked.stderr, "nobody asked for a check"


def recorded_state(gpu: Gpu) -> str:
    """Without `gpu ls`, which starts a guard where it finds none, as `up` is about to."""
    path = gpu.home / "state" / "gpu.db"
    if not path.is_file():
        return ""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'deployments'").fetchall()
        rows = connection.execute("SELECT state FROM deployments").fetchall() if tables else []
    return str(rows[0][0]) if rows else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_check_that_is_cut_short_leaves_nothing(gpu: Gpu, recipe: WriteRecipe, number: signal.Signals) -> None:
    path = recipe(misbehaviour={"chats": [], "silent": ["/v1/chat/completions"]})
    up = gpu.start("up", str(path), "--check")
    wait_until(lambda: recorded_state(gpu) == "ready")
    up.signal(number)
    assert up.result().exit == (130 if number is signal.SIGINT else -signal.SIGKILL)
    wait_until(lambda: recorded_state(gpu) in ("gone", "failed"))
    assert gpu.engines() == []


def test_a_check_needs_to_wait(gpu: Gpu, tiny: str) -> None:
    up = gpu("up", tiny, "--check", "--no-wait", "--json")
    assert (up.exit, up.error["code"]) == (2, "usage")
    assert gpu.ls() == []
