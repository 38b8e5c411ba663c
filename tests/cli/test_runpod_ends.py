"""Every way in which a pod at RunPod ends, and what the program says when one does not."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import driver
import httpx
import pytest
from driver import Gpu, wait_until
from emulators.runpod import RunPodEmulator
from emulators.runpod.pods import Pod
from emulators.server import Request
from rented import asked, billed, up

Rentable = Callable[..., str]
LATE_S = 15.0
"""How much later than the cloud the record may know, on a machine that is busy."""
IMPATIENT = """
import runpy
import gpu_cli.fleet.end.teardown as teardown
teardown.VERIFY_DEADLINE_S = 1.0
runpy.run_module("gpu_cli", run_name="__main__")
"""
"""The program, but for how long it tries to see something gone."""


@pytest.fixture
def launched(gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable) -> Pod:
    """What `gpu up --no-wait` has made; it is called tiny."""
    ran = up(gpu, rentable("L4"), "--no-wait")
    assert ran.exit == 0, ran.stderr
    (pod,) = cloud.pods
    return pod


def deletes(cloud: RunPodEmulator, pod_id: str) -> list[Request]:
    return asked(cloud, "DELETE", f"pods/{pod_id}")


@pytest.mark.parametrize(("flags", "reason"), [(("--idle", "1s"), "idle"), (("--ttl", "4s", "--no-wait"), "deadline")])
def test_a_pod_ends_itself_with_its_own_key_and_the_bill_is_what_ls_says(
    gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable, flags: Sequence[str], reason: str
) -> None:
    ran = up(gpu, rentable("L4"), *flags)
    assert ran.exit == 0, ran.stderr
    gpu.kill_guard()
    pod = cloud.pods.on_record(ran.json["resource_id"])
    assert pod
    wait_until(lambda: not list(cloud.pods))
    request = deletes(cloud, pod.id)[0]
    assert request.bearer == pod.key != cloud.key
    assert request.headers["user-agent"].startswith("gpu-cli/")
    bill = billed(cloud, pod.id)
    assert not bill["alive"]
    (listed,) = gpu.ls()
    assert listed["state"] in ("gone", "failed")  # which is what an end before anybody saw it ready is
    assert listed["reason"].partition(":")[0] == reason
    late_s = (listed["spent_usd"] - bill["usd"]) / pod.usd_per_hour * 3600
    assert -0.1 <= late_s <= LATE_S


def test_down_comes_back_when_the_cloud_says_that_it_is_gone(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod, web: httpx.Client
) -> None:
    cloud.misbehave({"do": "delete-lag", "seconds": 1})
    down = gpu("down", "tiny", "--json")
    assert down.exit == 0, down.stderr
    assert not billed(cloud, launched.id)["alive"]
    assert web.get(f"{cloud.url}/v2/pods/{launched.id}", headers=key_of(cloud)).status_code == 404
    assert gpu.state_of("tiny") == "gone"
    assert gpu("down", "tiny").exit == 0


def test_a_locked_pod_is_unlocked_and_ended(gpu: Gpu, cloud: RunPodEmulator, launched: Pod) -> None:
    launched.locked = True
    cloud.misbehave({"do": "delete-locked"})
    down = gpu("down", "tiny")
    assert down.exit == 0, down.stderr
    assert list(cloud.pods) == []


def test_a_delete_that_claims_to_work_and_does_not_is_status_9_naming_the_pod_and_can_be_repeated(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.kill_guard()
    cloud.misbehave({"do": "delete-204-stays"})
    with monkeypatch.context() as patch:
        patch.setattr(driver, "COMMAND", (sys.executable, "-c", IMPATIENT))
        down = gpu("down", "tiny", "--json")
    assert (down.exit, down.error["code"]) == (9, "cleanup-unconfirmed")
    assert down.error["still_billing"] == [launched.name]
    assert launched.name in down.error["hint"]
    assert deletes(cloud, launched.id)
    with cloud.lock:
        cloud.misbehaviour.clear()
    again = gpu("down", "tiny")
    assert again.exit == 0, again.stderr
    assert list(cloud.pods) == []
    assert gpu.state_of("tiny") == "gone"


def test_a_key_that_is_revoked_is_status_9_at_once_since_the_pod_may_bill_on(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod
) -> None:
    down = gpu("down", "tiny", "--json", env={"RUNPOD_API_KEY": "rpa_revoked"})
    assert (down.exit, down.error["still_billing"]) == (9, [launched.name])


def test_another_machine_ends_it_by_the_name_that_the_cloud_knows(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod, tmp_path: Path
) -> None:
    elsewhere = {"GPU_HOME": str(tmp_path / "elsewhere")}
    assert gpu("down", "small", env=elsewhere).exit == 8
    down = gpu("down", launched.name, "--json", env=elsewhere)
    assert down.exit == 0, down.stderr
    assert [one["name"] for one in down.json["ended"]] == ["tiny"]
    assert list(cloud.pods) == []


def test_gc_finds_what_is_ours_and_on_no_record_and_leaves_what_is_the_users_own(
    gpu: Gpu, cloud: RunPodEmulator, web: httpx.Client
) -> None:
    ours = by_hand(web, cloud, "gpu-orphan-abc123", {"GPU_RESOURCE": "gpu-orphan-abc123", "GPU_LABEL_NAME": "orphan"})
    theirs = [
        by_hand(web, cloud, "gpu-experiments", {}),
        by_hand(web, cloud, "training", {"GPU_RESOURCE": "gpu-orphan-abc124"}),
    ]
    seen = gpu("gc", "--dry-run", "--json")
    assert [(one["resource_name"], one["why"]) for one in seen.json["left"]] == [
        ("gpu-orphan-abc123", "it is not on record")
    ]
    gc = gpu("gc", "--yes", "--json")
    assert gc.exit == 0, gc.stderr
    assert [one["resource_name"] for one in gc.json["removed"]] == ["gpu-orphan-abc123"]
    assert not billed(cloud, ours)["alive"]
    assert [pod.id for pod in cloud.pods] == theirs


def test_what_the_cloud_stopped_is_destroyed_for_it_may_bill_on(gpu: Gpu, cloud: RunPodEmulator, launched: Pod) -> None:
    with cloud.lock:
        cloud.pods.stop(launched)
    wait_until(lambda: not list(cloud.pods))
    wait_until(lambda: gpu.state_of("tiny") == "failed")
    assert "EXITED" in gpu.ls()[0]["reason"]  # as the list has it, or in the words of its start


def test_what_was_ended_in_the_console_is_shown_as_gone_and_costs_no_more(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod
) -> None:
    with cloud.lock:
        cloud.pods.terminate(launched)
    # At first it may only be too young for the cloud to show it.
    wait_until(lambda: gpu.ls()[0]["state"] in ("failed", "gone"))
    (listed,) = gpu.ls()
    assert listed["ended_at"]


def key_of(cloud: RunPodEmulator) -> dict[str, str]:
    return {"Authorization": f"Bearer {cloud.key}"}


def by_hand(web: httpx.Client, cloud: RunPodEmulator, name: str, env: dict[str, str]) -> str:
    """A pod that somebody made without this program."""
    body = {
        "name": name,
        "image": "python:3.11",
        "args": "sleep 600",
        "gpu": {"id": "NVIDIA L4", "count": 1},
        "cloud": "SECURE",
        "disk": 20,
        "ports": ["8000/http"],
        "env": env,
    }
    return str(web.post(f"{cloud.url}/v2/pods", json=body, headers=key_of(cloud)).json()["id"])
