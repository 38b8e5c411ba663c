"""What SIGKILL leaves of a real engine: nothing for long. What else it may hit is in the simulation."""

from typing import Any

import pytest
from driver import Gpu
from served import assert_nothing_is_left, bring_up, left_of, port_of, wait_calmly

pytestmark = pytest.mark.engine


def newest(gpu: Gpu) -> dict[str, Any]:
    return gpu.ls()[0]


def how_it_ended(gpu: Gpu) -> tuple[str, str]:
    last = newest(gpu)
    return str(last["state"]), str(last["reason"])


def test_the_guard_ends_the_engine_of_a_killed_supervisor(gpu: Gpu, has_all_processes: None) -> None:
    bring_up(gpu)
    port = port_of(newest(gpu)["base_url"])
    gpu.supervisor().kill()
    wait_calmly(lambda: not left_of(gpu))
    wait_calmly(lambda: how_it_ended(gpu) == ("failed", "its supervisor died"))
    assert_nothing_is_left(gpu, port)
