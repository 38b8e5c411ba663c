"""`gpu run`: a command with an endpoint of its own, which never outlives it."""

import signal
import sys

import psutil
import pytest
from driver import Gpu, command_of, is_alive, wait_until

ASK = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": os.environ["OPENAI_MODEL"], "messages": [], "max_tokens": 1}).encode(),
    {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
)
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
"""


def sleeping(gpu: Gpu) -> list[psutil.Process]:
    return [process for process in gpu.processes("sleep") if command_of(process).startswith("sleep")]


def test_run_gives_the_command_an_endpoint_and_leaves_stdout_to_it(gpu: Gpu, tiny: str) -> None:
    ran = gpu("run", tiny, "--", sys.executable, "-c", ASK)
    assert (ran.exit, ran.stdout) == (0, "Paris\n"), ran.stderr
    assert "is gone; it cost $0.00" in ran.stderr
    assert gpu.engines() == []
    (ended,) = gpu.ls()
    assert (ended["state"], ended["reason"]) == ("gone", "its command ended")
    assert ended["name"].startswith("tiny-run-")


def test_run_ends_with_the_status_of_the_command_and_tears_down(
    gpu: Gpu, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    flag_of_the_command = "--json"
    ran = gpu("run", tiny, "--", "sh", "-c", 'echo "$NO_PROXY $no_proxy"; exit 7', flag_of_the_command)
    asks_no_proxy_for_what_is_on_this_machine = "example.org,127.0.0.1 example.org,127.0.0.1\n"
    assert (ran.exit, ran.stdout) == (7, asks_no_proxy_for_what_is_on_this_machine)
    assert gpu("run", tiny, "--", "sh", "-c", "kill -9 $$").exit == 128 + 9
    assert gpu.engines() == []


def test_a_command_that_is_not_there_starts_nothing(gpu: Gpu, tiny: str) -> None:
    ran = gpu("run", tiny, "--", "no-such-command-anywhere")
    assert ran.exit == 2
    assert gpu.ls() == []


def test_run_refuses_the_name_of_a_running_deployment(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    assert gpu("run", tiny, "--name", "tiny", "--", "true").exit == 2
    assert gpu.state_of("tiny") == "ready"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_command_and_the_deployment(gpu: Gpu, tiny: str, number: signal.Signals) -> None:
    run = gpu.start("run", tiny, "--name", "mine", "--", "sleep", "50")
    wait_until(lambda: sleeping(gpu))
    (command,) = sleeping(gpu)
    run.signal(number)
    assert run.result().exit == 130
    assert not is_alive(command)
    assert gpu.engines() == []
    assert gpu.state_of("mine") == "gone"


def test_when_run_is_killed_the_guard_ends_its_deployment(gpu: Gpu, tiny: str) -> None:
    run = gpu.start("run", tiny, "--name", "mine", "--", "sleep", "3")
    wait_until(lambda: sleeping(gpu))
    run.signal(signal.SIGKILL)
    wait_until(lambda: not gpu.processes("supervisor.py"))
    wait_until(lambda: gpu.ls()[0]["reason"] == "the command that launched it was killed")
    wait_until(lambda: not sleeping(gpu))


def test_a_guard_that_dies_while_the_command_runs_gets_a_successor(gpu: Gpu, tiny: str) -> None:
    run = gpu.start("run", tiny, "--name", "mine", "--", "sleep", "50")
    wait_until(lambda: sleeping(gpu))
    (command,) = sleeping(gpu)
    gpu.kill_guard()
    wait_until(gpu.guard)
    run.signal(signal.SIGTERM)
    assert run.result().exit == 130
    assert not is_alive(command)
    assert gpu.state_of("mine") == "gone"
