"""What one machine launched, from another one that knows nothing of it: seen, ended, put on record, collected."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from driver import Gpu, wait_until
from emulators.runpod import RunPodEmulator
from emulators.runpod.pods import Pod
from emulators.vast import VastEmulator
from rented import up

Rentable = Callable[..., str]


@pytest.fixture
def launched(gpu: Gpu, cloud: RunPodEmulator, rentable: Rentable) -> Pod:
    """From the first machine; it is called tiny."""
    ran = up(gpu, rentable("L4"), "--no-wait", "--budget", "5", "--ttl", "3h")
    assert ran.exit == 0, ran.stderr
    (pod,) = cloud.pods
    return pod


@pytest.fixture
def elsewhere(gpu: Gpu, launched: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """The second machine, with the same account. The first one is off from now on."""
    other = Gpu(tmp_path / "elsewhere", gpu.cwd)
    gpu.kill_guard()
    monkeypatch.setenv("GPU_HOME", str(other.home))
    yield other
    assert other.close() == []


def by_hand(web: httpx.Client, cloud: RunPodEmulator, resource_name: str, **labels: str) -> str:
    """A pod with our marks that was made without this program; its id."""
    marks = {"GPU_RESOURCE": resource_name, **{f"GPU_LABEL_{label.upper()}": value for label, value in labels.items()}}
    body = {
        "name": resource_name,
        "image": "python:3.11",
        "args": "sleep 600",
        "gpu": {"id": "NVIDIA L4", "count": 1},
        "cloud": "SECURE",
        "disk": 20,
        "ports": ["8000/http"],
        "env": marks,
    }
    headers = {"Authorization": f"Bearer {cloud.key}", "User-Agent": "curl/8.5.0"}
    return str(web.post(f"{cloud.url}/v2/pods", json=body, headers=headers).json()["id"])


def remote(gpu: Gpu) -> Mapping[str, Any]:
    ran = gpu("ls", "--remote", "--json")
    assert ran.exit == 0, ran.stderr
    return ran.json


def test_what_runs_is_listed_whoever_launched_it_and_a_silent_cloud_has_its_line(
    gpu: Gpu, launched: Pod, elsewhere: Gpu, vast: VastEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAST_API_KEY", "0bad" * 16)
    listed = remote(elsewhere)
    (found,) = listed["deployments"]
    assert (found["name"], found["resource_name"], found["on_record"]) == ("tiny", launched.name, False)
    assert [one["provider"] for one in listed["unreached"]] == ["vast"]
    (known,) = gpu("ls", "--remote", "--json", env={"GPU_HOME": str(gpu.home)}).json["deployments"]
    assert (known["resource_id"], known["on_record"]) == (launched.id, True)
    shown = elsewhere("ls", "--remote")
    assert shown.exit == 0
    line = shown.stdout.splitlines()[1]
    assert line.split()[:2] == ["tiny", launched.name]
    assert line.endswith("no")
    assert "vast does not say what runs there" in shown.stderr


def test_it_is_adopted_with_its_limits_and_the_key_that_its_cloud_shows_and_seen_ready(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod, elsewhere: Gpu
) -> None:
    adopted = elsewhere("adopt", "tiny", "--json")
    assert adopted.exit == 0, adopted.stderr
    (found,) = adopted.json["adopted"]
    (known,) = gpu("ls", "--json", env={"GPU_HOME": str(gpu.home)}).json["deployments"]
    same = ("name", "recipe", "model", "provider", "kind", "gpu", "resource_id", "price_usd_per_hour")
    assert {key: found[key] for key in same} == {key: known[key] for key in same}
    assert limits(found) == limits(known)
    assert "budget" in limits(found)
    assert elsewhere.guard()
    wait_until(lambda: elsewhere.state_of("tiny") == "ready")
    assert elsewhere("chat", "tiny", "-m", "hello").stdout.startswith("Paris")
    again = elsewhere("adopt", "--all", "--json")
    assert (again.exit, again.json["adopted"]) == (0, [])
    assert remote(elsewhere)["deployments"][0]["on_record"]
    assert elsewhere("down").exit == 0
    assert list(cloud.pods) == []


def limits(deployment: Mapping[str, Any]) -> Mapping[str, object]:
    """What ends it by its guard, and when, or after how long."""
    by_guard = [stop for stop in deployment["stops"] if stop["by"] == "guard"]
    return {stop["kind"]: stop["after_s"] or (stop["at"] or "")[:16] for stop in by_guard}


def test_without_its_key_it_can_be_ended_and_not_used(cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client) -> None:
    by_hand(web, cloud, "gpu-orphan-abc123", name="orphan")
    adopted = gpu("adopt", "orphan")
    assert adopted.exit == 0, adopted.stderr
    assert "its API key is on the machine from which it was launched" in adopted.stderr
    assert gpu.guard()
    assert gpu("down", "orphan").exit == 0
    assert list(cloud.pods) == []


def test_it_is_ended_by_its_name_unless_several_are_called_so(
    cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client
) -> None:
    for number in (1, 2):
        by_hand(web, cloud, f"gpu-tiny-abc12{number}", name="tiny")
    for command in ("down", "adopt"):
        unclear = gpu(command, "tiny", "--json")
        assert (unclear.exit, unclear.error["code"]) == (2, "which-one")
        assert "gpu-tiny-abc121 (runpod), gpu-tiny-abc122 (runpod)" in unclear.error["message"]
    assert gpu("down", "gpu-tiny-abc122").exit == 0
    assert [pod.name for pod in cloud.pods] == ["gpu-tiny-abc121"]
    adopted = gpu("adopt", "--all", "--json")
    assert [one["name"] for one in adopted.json["adopted"]] == ["tiny"]
    assert gpu("down").exit == 0
    assert list(cloud.pods) == []


def test_a_name_that_nothing_has_is_unknown_only_when_everybody_has_said_so(
    cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client
) -> None:
    by_hand(web, cloud, "gpu-tiny-abc123", name="tiny")
    for command in ("down", "adopt"):
        assert gpu(command, "nobody").exit == 8
        ran = gpu(command, "nobody", "--json", env={"RUNPOD_API_KEY": "rpa_revoked"})
        assert (ran.exit, ran.error["code"]) == (9, "not-reached")


def test_gc_can_put_on_record_what_works_and_destroys_the_rest(
    cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client
) -> None:
    works = by_hand(web, cloud, "gpu-tiny-abc123", name="tiny")
    by_hand(web, cloud, "gpu-late-abc123", name="late", deadline_at="1700000000")
    gc = gpu("gc", "--adopt", "--json")
    assert gc.exit == 0, gc.stderr
    assert [one["resource_name"] for one in gc.json["adopted"]] == ["gpu-tiny-abc123"]
    assert [one["resource_name"] for one in gc.json["removed"]] == ["gpu-late-abc123"]
    assert gpu.guard()
    again = gpu("gc", "--json")
    assert (again.exit, again.json["left"]) == (0, [])
    assert [pod.id for pod in cloud.pods] == [works]


def test_gc_asks_of_each_on_a_terminal_and_what_is_kept_is_left_over(
    cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client
) -> None:
    for number in (1, 2, 3):
        by_hand(web, cloud, f"gpu-orphan-abc12{number}", name="orphan")
    shown = gpu.on_a_terminal("gc", columns=200, typed="nonsense\nkeep\nd\na\n")
    assert shown.count("destroy, adopt, keep?") == 4
    (left,) = (line.removeprefix("still there: ") for line in shown.splitlines() if line.startswith("still there: "))
    (adopted,) = (one["resource_name"] for one in remote(gpu)["deployments"] if one["on_record"])
    dry = gpu("gc", "--dry-run", "--json")
    assert (dry.exit, [one["resource_name"] for one in dry.json["left"]]) == (9, [left])
    assert {pod.name for pod in cloud.pods} == {left, adopted}


def test_gc_that_cannot_ask_every_cloud_does_the_rest_and_says_so(
    cloud: RunPodEmulator, gpu: Gpu, web: httpx.Client, vast: VastEmulator
) -> None:
    by_hand(web, cloud, "gpu-tiny-abc123", name="tiny")
    gc = gpu("gc", "--yes", "--json", env={"VAST_API_KEY": "0bad" * 16})
    assert (gc.exit, gc.error["code"]) == (9, "not-reached")
    assert [one["provider"] for one in gc.json["unreached"]] == ["vast"]
    assert [one["resource_name"] for one in gc.json["removed"]] == ["gpu-tiny-abc123"]
    assert list(cloud.pods) == []


def test_gc_finishes_what_is_on_record_and_nowhere_else(
    gpu: Gpu, cloud: RunPodEmulator, launched: Pod, database: Callable[[str], None]
) -> None:
    gpu.kill_guard()
    with cloud.lock:
        cloud.pods.terminate(launched)
    database("UPDATE deployments SET launched_at = launched_at - 60")  # what is new may not be shown yet
    database("UPDATE events SET at = at - 60")
    gc = gpu("gc", "--json")
    assert gc.exit == 0, gc.stderr
    assert [one["resource_name"] for one in gc.json["finished"]] == [launched.name]
    assert gpu.state_of("tiny") == "failed"
