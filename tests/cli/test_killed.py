"""Whatever is killed, whenever: the record tells the truth afterwards, and nothing is left."""

import signal

import pytest
from conftest import Hub, WriteRecipe
from driver import Gpu, wait_until

ABANDONED = "the command that launched it was killed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_start_exits_130_and_leaves_nothing(
    gpu: Gpu, recipe: WriteRecipe, number: signal.Signals
) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})), "--json")
    wait_until(lambda: gpu.engines())
    up.signal(number)
    ended = up.result()
    assert ended.exit == 130, ended.stderr
    assert ended.error["code"] == "interrupted"
    assert "Traceback" not in ended.stderr
    assert gpu.engines() == []
    assert gpu.processes("supervisor.py") == []
    (deployment,) = gpu.ls()
    assert (deployment["state"], deployment["reason"]) == ("failed", "interrupted")


def test_a_start_whose_command_is_killed_is_ended_by_the_guard(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})))
    wait_until(lambda: gpu.engines())
    up.signal(signal.SIGKILL)
    wait_until(lambda: gpu.state_of("tiny") == "failed")
    assert gpu.ls()[0]["reason"] == ABANDONED
    assert gpu.processes("supervisor.py") == []
    assert gpu.engines() == []


def test_a_start_whose_command_and_guard_are_killed_is_left_to_gc_which_asks_first(
    gpu: Gpu, recipe: WriteRecipe
) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})))
    wait_until(lambda: gpu.engines())
    gpu.kill_guard()
    up.signal(signal.SIGKILL)
    up.result()
    looked = gpu("gc", "--dry-run", "--json")
    assert looked.exit == 9
    assert [left["why"] for left in looked.json["left"]] == [ABANDONED]
    assert len(gpu.engines()) == 1
    asked = gpu("gc")
    assert asked.exit == 2
    assert "--yes" in asked.stderr
    collected = gpu("gc", "--yes", "--json")
    assert collected.exit == 0
    assert [gone["why"] for gone in collected.json["removed"]] == [ABANDONED]
    assert gpu.processes("supervisor.py") == []
    assert gpu.engines() == []
    assert gpu.state_of("tiny") == "failed"
    nothing = {key: [] for key in ("removed", "adopted", "finished", "left", "unreached")}
    assert gpu("gc", "--json").json == {"version": 1, **nothing}


def test_a_start_whose_command_and_guard_are_killed_is_ended_by_ls(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu.start("up", str(recipe(misbehaviour={"load_s": 30})))
    wait_until(lambda: gpu.engines())
    gpu.kill_guard()
    up.signal(signal.SIGKILL)
    up.result()
    (listed,) = gpu.ls()
    assert (listed["state"], listed["reason"]) == ("failed", ABANDONED)
    assert gpu.engines() == []


def test_a_command_killed_before_it_asked_the_cloud_leaves_only_a_record(
    gpu: Gpu, recipe: WriteRecipe, hub: Hub
) -> None:
    hub.go.clear()
    up = gpu.start("up", str(recipe(model="org/model")))
    assert hub.asked.wait(30)
    assert gpu.state_of("tiny") == "planned"
    up.signal(signal.SIGKILL)
    up.result()
    hub.go.set()
    wait_until(lambda: gpu.state_of("tiny") == "failed")
    assert gpu("gc", "--json").json["left"] == []
    wait_until(lambda: [process for process in gpu.processes() if process != gpu.guard()] == [])


def test_an_interrupt_while_weights_are_fetched_leaves_nothing(gpu: Gpu, recipe: WriteRecipe, hub: Hub) -> None:
    hub.go.clear()
    up = gpu.start("up", str(recipe(model="org/model")))
    assert hub.asked.wait(30)
    up.signal(signal.SIGINT)
    assert up.result().exit == 130
    assert gpu.processes("fetcher.py") == []
    assert gpu.state_of("tiny") == "failed"


def test_the_next_up_takes_over_a_start_whose_command_was_killed(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = str(recipe(misbehaviour={"load_s": 3}))
    killed = gpu.start("up", path)
    wait_until(lambda: gpu.engines())
    killed.signal(signal.SIGKILL)
    up = gpu("up", path, "--json")
    assert (up.exit, up.json["state"]) == (0, "ready"), up.stderr
    assert len(gpu.engines()) == 1


def test_when_the_supervisor_is_killed_the_guard_ends_its_engine(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    gpu.supervisor().kill()
    wait_until(lambda: not gpu.engines())
    wait_until(lambda: gpu.state_of("tiny") == "failed")
    assert gpu.ls()[0]["reason"] == "its supervisor died"


def test_when_supervisor_and_engine_are_killed_the_record_says_so(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    engine = gpu.engine()
    gpu.supervisor().kill()
    engine.kill()
    wait_until(lambda: gpu.state_of("tiny") not in ("ready", "terminating"))
    assert gpu.ls()[0]["reason"] in ("ended outside gpu", "its supervisor died")


def test_a_resource_that_is_not_on_record_is_found_by_gc_and_can_be_ended_by_its_name(gpu: Gpu, tiny: str) -> None:
    name = gpu("up", tiny, "--json").json["resource_id"]
    gpu.kill_guard()
    for file in (gpu.home / "state").glob("gpu.db*"):
        file.unlink()
    looked = gpu("gc", "--dry-run", "--json")
    assert [left["why"] for left in looked.json["left"]] == ["it is not on record"]
    assert gpu("down", name).exit == 0
    assert gpu.engines() == []
