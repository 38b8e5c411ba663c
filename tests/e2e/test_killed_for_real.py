"""What SIGKILL leaves: nothing for long, whichever of us it hits."""

import signal
from typing import Any

import psutil
import pytest
from driver import Gpu, Running
from served import RECIPE, assert_nothing_is_left, bring_up, left_of, port_of, wait_calmly

pytestmark = pytest.mark.engine

ABANDONED = ("failed", "the command that launched it was killed")


def loading(gpu: Gpu) -> Running:
    """`gpu up`, in the middle of the engine's load."""
    up = gpu.start("up", RECIPE)
    wait_calmly(lambda: gpu.processes("EngineCore"))
    return up


def kill(up: Running) -> None:
    up.signal(signal.SIGKILL)
    up.process.communicate()


def guard_of(gpu: Gpu) -> psutil.Process:
    guard = gpu.guard()
    assert guard is not None
    return guard


def newest(gpu: Gpu) -> dict[str, Any]:
    return gpu.ls()[0]


def how_it_ended(gpu: Gpu) -> tuple[str, str]:
    last = newest(gpu)
    return str(last["state"]), str(last["reason"])


def test_the_guard_alone_ends_what_a_killed_up_has_left(gpu: Gpu) -> None:
    up = loading(gpu)
    port = port_of(newest(gpu)["base_url"])
    kill(up)
    wait_calmly(lambda: not left_of(gpu))
    wait_calmly(lambda: how_it_ended(gpu) == ABANDONED)
    assert_nothing_is_left(gpu, port)


def test_the_guard_ends_the_engine_of_a_killed_supervisor(gpu: Gpu) -> None:
    bring_up(gpu)
    port = port_of(newest(gpu)["base_url"])
    gpu.supervisor().kill()
    wait_calmly(lambda: not left_of(gpu))
    wait_calmly(lambda: how_it_ended(gpu) == ("failed", "its supervisor died"))
    assert_nothing_is_left(gpu, port)
