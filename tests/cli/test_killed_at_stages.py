"""At whichever stage a start on this machine is killed, with its guard: gc clears it away, and nothing healthy."""

import signal

from conftest import WriteRecipe
from driver import Gpu, Running, resource_of

BYSTANDER, VICTIM = "bystander", "victim"
STAGES = ("install", "weights", "start", "healthy", "canary", "stops")


def stages(stderr: str) -> tuple[str, ...]:
    """The stages that it tells to be over, a line each."""
    return tuple(line.split()[0] for line in stderr.splitlines() if line.endswith(" s"))


def kill_after(gpu: Gpu, up: Running, stage: str) -> None:
    """With its guard, as soon as that stage is over."""
    assert up.process.stderr
    said = any(line.startswith(stage) for line in iter(up.process.stderr.readline, ""))
    up.signal(signal.SIGKILL)
    gpu.kill_guard()
    assert said, f"it ended before {stage}"


def test_a_start_that_is_killed_with_its_guard_after_any_stage_is_cleared_away_by_gc(
    gpu: Gpu, recipe: WriteRecipe
) -> None:
    path = str(recipe("tiny"))
    bystander = gpu("up", path, "--name", BYSTANDER, "--json").json["resource_id"]
    whole = gpu("up", path, "--name", VICTIM)
    assert stages(whole.stderr) == STAGES
    assert gpu("down", VICTIM).exit == 0
    for stage in STAGES:
        kill_after(gpu, gpu.start("up", path, "--name", VICTIM), stage)
        collected = gpu("gc", "--yes")
        assert collected.exit == 0, f"{stage}: {collected}"
        if gpu.state_of(VICTIM) == "ready":  # it was as good as done
            assert stage == STAGES[-1]
            assert gpu("down", VICTIM).exit == 0
        assert [resource_of(one) for one in gpu.processes("supervisor.py")] == [bystander], stage
        assert len(gpu.engines()) == 1, stage
    assert gpu.state_of(BYSTANDER) == "ready"
