"""The commands around a running deployment: chat, env, url, logs, ls, completion."""

import os
import subprocess
import sys
import time

import pytest
from conftest import WriteRecipe
from driver import COMMAND, Gpu, wait_until


def test_chat_answers_one_message_and_takes_stdin_as_one(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    for asked in (gpu("chat", "-m", "hi"), gpu("chat", "tiny", stdin="two\nlines\n")):
        assert asked.exit == 0, asked.stderr
        assert asked.stdout == "Paris Paris Paris Paris \n"


def test_chat_with_a_dead_engine_says_so(gpu: Gpu, recipe: WriteRecipe) -> None:
    gpu("up", str(recipe(misbehaviour={"ignore_term": True})))
    gpu.supervisor().suspend()
    gpu.engine().kill()
    chat = gpu("chat", "-m", "hi")
    gpu.supervisor().resume()
    assert chat.exit == 6
    assert "did not answer" in chat.stderr
    assert "Traceback" not in chat.stderr


def test_env_can_be_evaluated_by_a_shell(gpu: Gpu, tiny: str) -> None:
    base_url = gpu("up", tiny).stdout.strip()
    script = f'eval "$({" ".join(COMMAND)} env tiny)"; echo "$OPENAI_BASE_URL $OPENAI_MODEL ${{#OPENAI_API_KEY}}"'
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told[:2] == [base_url, "tiny"]
    assert int(told[2]) > 40
    assert gpu("url").stdout == f"{base_url}\n"


@pytest.mark.parametrize("command", ["url", "env", "chat", "wait", "logs"])
def test_a_command_for_a_deployment_that_is_not_there_exits_8(gpu: Gpu, command: str) -> None:
    unknown = gpu(command, "nobody")
    assert unknown.exit == 8
    assert "nobody" in unknown.stderr
    nothing = gpu(command)
    assert nothing.exit == 8
    assert "nothing is running" in nothing.stderr


def test_logs_has_what_the_engine_said_and_the_last_lines_of_it(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    logs = gpu("logs").stdout
    assert "Application startup complete" in logs
    assert "[supervisor] armed idle_s=60" in logs
    last = gpu("logs", "tiny", "-n", "2").stdout.splitlines()
    assert len(last) == 2
    assert gpu("logs", "-n", "0").stdout == ""


def test_following_logs_ends_when_the_deployment_ends(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    follow = gpu.start("logs", "-f", "tiny")
    gpu("down")
    followed = follow.result()
    assert followed.exit == 0, followed.stderr
    assert followed.stdout.splitlines()[-1] == "[supervisor] ended reason=terminated detail=signal received"
    assert gpu("logs", "tiny").stdout == followed.stdout, "the log outlives the deployment"


def test_a_reader_that_goes_away_is_no_trouble(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    script = f"{{ {' '.join(COMMAND)} logs -f; echo status $? >&2; }} | head -n 1"
    piped = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert piped.stdout
    assert piped.stdout.readline()
    gpu("down")
    _, stderr = piped.communicate(timeout=30)
    assert stderr == "status 0\n"


def test_a_reader_that_never_reads_is_no_trouble_either(gpu: Gpu) -> None:
    script = f"{{ {' '.join(COMMAND)} recipes; echo status $? >&2; }} | true"
    piped = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert piped.stderr == "status 0\n"


def test_ls_on_a_pipe_is_a_plain_table(gpu: Gpu, tiny: str) -> None:
    url = gpu("up", tiny).stdout.strip()
    titles, row = gpu("ls").stdout.splitlines()
    assert titles.split() == ["NAME", "STATE", "WHERE", "$/H", "SPENT", "IDLE", "ENDS", "BASE_URL"]
    assert row.startswith("tiny  ready  local cpu")
    assert row.endswith(url)
    gpu("down")
    titles, row = gpu("ls").stdout.splitlines()
    assert "gone" in row
    assert "gpu down" in row


def test_the_shell_completes_names_of_deployments(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    completing = {"_GPU_COMPLETE": "complete_bash", "COMP_WORDS": "gpu down t", "COMP_CWORD": "2"}
    completed = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "gpu")],  # noqa: PTH118, PTH120 - a sibling, not resolved
        env={**os.environ, **completing},
        capture_output=True,
        text=True,
    )
    assert completed.stdout.split() == ["tiny"]


def test_a_terminal_gets_colour_unless_no_color_is_set(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in gpu.on_a_terminal("url", "nobody")
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[1;31merror:" in gpu.on_a_terminal("url", "nobody")


def test_doctor_tells_what_works_here(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    doctor = gpu("doctor", "--json")
    assert doctor.exit == 0
    subjects = {check["subject"]: check for check in doctor.json["checks"]}
    assert subjects["engine"]["message"] == "installed: vllm-0.32.0-cpu"
    assert {"disk", "guard", "hub", "HF_TOKEN"} <= set(subjects)


def test_the_idle_time_that_ls_tells_begins_anew_with_every_request(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)

    def active_at() -> float:
        idle_s: float = gpu.ls()[0]["idle_seconds"]
        return time.time() - idle_s

    time.sleep(3)
    before, asked_at = active_at(), time.time()
    gpu("chat", "-m", "hi")
    wait_until(lambda: active_at() > asked_at)
    assert before < asked_at
