"""Most tests run a `gpu` that was forked: it, and its guard, is in nothing different from what Python starts."""

import os
import subprocess

import forked
import pytest
from driver import FORKED, GPU, Gpu, Ran

pytestmark = pytest.mark.skipif(not forked.POSSIBLE, reason="every command is started here")


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["--version"], ""),
        (["ls"], ""),
        (["fit", "Qwen/Qwen3-8B", "--gpu", "H100", "--json"], ""),
        (["recipe", "check", "of-here.yaml"], ""),
        (["down", "nothing", "--json"], ""),
        (["no-such-command"], ""),
        (["config", "set", "idle", "1h"], ""),
        (["chat", "nothing"], "Grüße\n"),
    ],
    ids=lambda value: "-".join(value) or "no stdin",
)
def test_a_forked_command_says_and_does_what_a_started_one_does(gpu: Gpu, arguments: list[str], stdin: str) -> None:
    (gpu.cwd / "of-here.yaml").write_text("model: Qwen/Qwen3-8B\nengine: {env: {A: Grüße}}\n", encoding="utf-8")
    started = subprocess.run([*GPU, *arguments], input=stdin, capture_output=True, text=True, cwd=gpu.cwd)
    ran = gpu(*arguments, stdin=stdin)
    assert ran == Ran(started.stdout, started.stderr, started.returncode)
    assert ran.stdout + ran.stderr


def test_a_forked_command_sees_the_environment_that_it_was_given_and_no_other(gpu: Gpu) -> None:
    elsewhere = {"GPU_HOME": str(gpu.cwd / "elsewhere")}
    assert gpu("config", "path", env=elsewhere).stdout != gpu("config", "path").stdout


def test_a_guard_that_a_forked_command_starts_looks_like_any_other(gpu: Gpu, tiny: str) -> None:
    def seen() -> tuple[list[str], dict[str, str]]:
        guard = gpu.guard()
        assert guard
        return [word for word in guard.cmdline() if word], guard.environ()

    assert gpu("up", tiny).exit == 0
    forked_one = seen()
    gpu.kill_guard()
    assert gpu.start("up", tiny, "--name", "another").result().exit == 0
    assert forked_one == seen()
    assert gpu("down", "--all").exit == 0


def test_a_forked_command_that_takes_too_long_is_killed(gpu: Gpu, tiny: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as told:
        FORKED.run([*GPU, "plan", tiny, "--provider", "local", "--watch"], "", gpu.cwd, os.environ, 0.5)
    assert told.value.timeout == 0.5
