"""`gpu up` over several clouds: what is tried next, what is told in the end, and when it asks again."""

import signal
from collections.abc import Callable

import pytest
from driver import Gpu, wait_until
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from rented import created

Rentable = Callable[..., str]
OLD_DRIVER = "error starting container: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0"
ALL_COUNTS = 4
"""So many offers RunPod has of one card: 1, 2, 4 and 8 of it."""


@pytest.fixture(scope="module")
def engine() -> str:
    """Nobody asks it anything here that wants a process."""
    return "pretend"


def test_when_the_cheapest_cloud_and_then_a_host_fail_the_next_one_serves_and_all_is_told_once(
    gpu: Gpu, cloud: RunPodEmulator, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "no-funds"})
    cloud.misbehave({"do": "system-line", "text": OLD_DRIVER, "times": 1})
    up = gpu("up", rentable(gpu={"names": ["RTX-4090", "RTX-5090"], "count": 1}), "--json")
    assert up.exit == 0, up.stderr
    tried = up.json["tried"]
    assert [(one["provider"], one["failure"]) for one in tried] == [
        ("vast", "no-funds"),
        ("runpod", "host-failed"),
        ("runpod", None),
    ]
    assert tried[2]["gpu"] == up.json["gpu"] != tried[1]["gpu"]
    rows = up.stderr[up.stderr.index("TRIED") :].splitlines()[1:4]
    assert [row.split()[0] for row in rows] == ["vast", "runpod", "runpod"]
    assert ["host-failed: the driver of this host is too old" in row for row in rows] == [False, True, False]
    assert rows[2].endswith(" ready")
    assert [pod.id for pod in cloud.pods] == [up.json["resource_id"]]
    assert not vast.bill()["resources"]


def test_when_all_fails_the_table_and_the_document_say_what_was_tried(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "no-capacity"})
    up = gpu("up", rentable("L4", "RTX-5090"), "--provider", "runpod", "--json", "--attempts", "2")
    assert (up.exit, up.error["code"]) == (5, "not-launched")
    assert [one["failure"] for one in up.json["tried"]] == ["no-capacity"] * 2 == ["no-capacity"] * len(created(cloud))
    assert [one["cost_usd"] for one in up.json["tried"]] == [0, 0]
    assert up.stderr.index("TRIED") < up.stderr.index("error: ")
    assert up.stderr.count("error: ") == 1


def test_it_asks_again_until_there_is_something_to_be_had(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_RETRY_PAUSE_S", "0.1")
    cloud.misbehave({"do": "no-capacity", "times": 2})
    recipe = rentable(gpu={"names": ["L4"], "count": 1})
    up = gpu("up", recipe, "--provider", "runpod", "--json", "--no-wait", "--retry-until-up")
    assert up.exit == 0, up.stderr
    assert up.stderr.count("asking again in") == 2
    assert [one["failure"] for one in up.json["tried"]] == ["no-capacity", "no-capacity", None]


def test_ctrl_c_while_it_waits_to_ask_again_leaves_nothing(gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable) -> None:
    cloud.misbehave({"do": "no-capacity"})
    waiting = gpu.start("up", rentable("L4"), "--provider", "runpod", "--retry-until-up")
    wait_until(lambda: len(created(cloud)) >= ALL_COUNTS)
    waiting.signal(signal.SIGINT)
    ended = waiting.result()
    assert (ended.exit, list(cloud.pods)) == (130, [])
    assert "no-capacity: " in ended.stderr[ended.stderr.index("TRIED") :]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "options",
    [("--attempts", "0"), ("--race", "0"), ("--use", "soon"), ("--optimize", "luck"), ("--race", "2", "--no-wait")],
)
def test_policies_that_make_no_sense_are_refused(gpu: Gpu, tiny: str, options: tuple[str, ...]) -> None:
    assert gpu("up", tiny, *options).exit == 2
