"""`gpu up` at RunPod when hosts do not come up: what is waited for, what is given up, and what is tried next."""

from collections.abc import Callable

import pytest
from driver import Gpu
from emulators.runpod import RunPodEmulator
from rented import asked, billed, cards, created, up

Rentable = Callable[..., str]
OLD_DRIVER = "error starting container: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0"


@pytest.fixture(scope="module")
def engine() -> str:
    """Nobody asks it anything here that wants a process."""
    return "pretend"


def ended(cloud: RunPodEmulator) -> list[str]:
    """The ids of the pods that were asked to end."""
    return list(dict.fromkeys(request.path.split("/")[-1] for request in asked(cloud, "DELETE", "pods/")))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"do": "system-line", "text": OLD_DRIVER}, "the driver of this host is too old"),
        ({"do": "never-boots"}, "its host showed no progress for 2s"),
    ],
)
def test_a_host_that_does_not_come_up_is_ended_and_the_next_offer_is_taken(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable, rule: dict[str, object], told: str
) -> None:
    cloud.misbehave({**rule, "times": 1})
    launched = up(gpu, rentable(gpu={"names": ["L4", "RTX-5090"], "count": 1}), "--boot-deadline", "2s")
    assert launched.exit == 0, launched.stderr
    assert told in launched.stderr
    assert cards(created(cloud)) == ["NVIDIA L4", "NVIDIA GeForce RTX 5090"]
    (first,) = ended(cloud)
    assert not billed(cloud, first)["alive"]
    assert [pod.id for pod in cloud.pods] == [launched.json["resource_id"]]
    assert sorted(one["state"] for one in gpu.ls()) == ["failed", "ready"]


def test_an_image_that_no_registry_has_is_refused_at_once_and_not_tried_elsewhere(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "system-line", "text": "failed to pull image: manifest unknown"})
    refused = up(gpu, rentable("L4", "RTX-5090"))
    assert refused.exit == 2, refused.stderr
    assert "its registry does not have the image" in refused.error["message"]
    assert "engine's version" in refused.error["hint"]
    assert len(created(cloud)) == len(ended(cloud)) == 1
    assert list(cloud.pods) == []


def test_after_three_hosts_that_failed_it_gives_up_and_nothing_is_left(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "system-line", "text": OLD_DRIVER})
    failed = up(gpu, rentable("L4", "RTX-4090", "RTX-5090", "L40S"))
    assert (failed.exit, failed.error["still_billing"]) == (6, [])
    assert len(created(cloud)) == len(ended(cloud)) == 3
    assert list(cloud.pods) == []
    assert not any(line["alive"] for line in cloud.bill()["resources"])
    assert [one["state"] for one in gpu.ls()] == ["failed"] * 3


def test_a_command_that_ends_again_and_again_is_ended_with_its_log_kept(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "crash-loop", "seconds": 0.1})
    failed = up(gpu, rentable("L4", "RTX-5090"))
    assert failed.exit == 6, failed.stderr
    assert len(ended(cloud)) == len(created(cloud))
    assert list(cloud.pods) == []
    name = gpu.ls()[0]["name"]
    assert "Engine core failed to start" in gpu("logs", name).stdout


def test_a_pod_that_claims_to_run_is_waited_for_until_it_answers_and_the_pull_is_shown(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable
) -> None:
    cloud.misbehave({"do": "early-running", "seconds": 2})
    shown = gpu.on_a_terminal("up", rentable("L4"), "--provider", "runpod", columns=120)
    assert "pulling the image: " in shown
    assert " of 5 layers" in shown
    (pod,) = cloud.pods
    assert pod.status == "RUNNING"
    assert gpu.state_of("tiny") == "ready"
