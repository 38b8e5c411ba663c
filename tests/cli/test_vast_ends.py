"""Every way in which an instance at Vast.ai ends, and what the program says when one does not."""

import sys
from collections.abc import Callable
from pathlib import Path

import driver
import httpx
import pytest
from driver import Gpu, wait_until
from emulators.server import Request
from emulators.vast import VastEmulator
from emulators.vast.instances import Instance
from rented import asked, billed
from rented_at_vast import living, made, up

Rentable = Callable[..., str]
LATE_S = 15.0
"""How much later than the cloud the record may know, on a machine that is busy."""
GONE_S = 1.0
ASKING = (
    "import os, urllib.request; request = urllib.request.Request(os.environ['OPENAI_BASE_URL'] + '/models', "
    "headers={'Authorization': 'Bearer ' + os.environ['OPENAI_API_KEY']}); "
    "print(urllib.request.urlopen(request).status, os.environ['OPENAI_BASE_URL'])"
)
IMPATIENT = """
import runpy
import gpu_cli.fleet.end.teardown as teardown
teardown.VERIFY_DEADLINE_S = 1.0
runpy.run_module("gpu_cli", run_name="__main__")
"""
"""The program, but for how long it tries to see something gone."""


@pytest.fixture
def launched(gpu: Gpu, vast: VastEmulator, rentable: Rentable) -> Instance:
    """What `gpu up --no-wait` has made; it is called tiny."""
    ran = up(gpu, rentable("H100"), "--no-wait")
    assert ran.exit == 0, ran.stderr
    (instance,) = made(vast)
    return instance


def deletes(cloud: VastEmulator, instance: Instance) -> list[Request]:
    return asked(cloud, "DELETE", f"v0/instances/{instance.id}/")


def test_with_nobodys_help_an_idle_instance_destroys_itself_by_its_own_key_and_the_bill_is_what_ls_says(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    ran = up(gpu, rentable("H100"), "--idle", "1s")
    assert ran.exit == 0, ran.stderr
    gpu.kill_guard()
    (instance,) = made(vast)
    wait_until(lambda: not living(vast))
    assert {request.bearer for request in deletes(vast, instance)} == {instance.key} != {vast.key}
    assert deletes(vast, instance)[0].headers["user-agent"].startswith("gpu-cli/")
    (listed,) = gpu.ls()
    assert (listed["state"], listed["reason"]) == ("gone", "idle")
    late_s = (listed["spent_usd"] - billed(vast, str(instance.id))["usd"]) / listed["price_usd_per_hour"] * 3600
    assert -0.1 <= late_s <= LATE_S


def test_with_nobodys_help_an_instance_destroys_itself_at_its_deadline_though_nobody_saw_it_ready(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    ran = up(gpu, rentable("H100"), "--ttl", "4s", "--no-wait")
    assert ran.exit == 0, ran.stderr
    gpu.kill_guard()
    (instance,) = made(vast)
    wait_until(lambda: not living(vast))
    assert {request.bearer for request in deletes(vast, instance)} == {instance.key}
    assert gpu.ls()[0]["reason"] == "deadline"


def test_where_the_container_has_no_key_that_is_told_and_the_guard_ends_it_when_idle(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    vast.misbehave({"do": "no-container-key"})
    ran = up(gpu, rentable("H100"), "--idle", "1s")
    assert ran.exit == 0, ran.stderr
    assert "tiny cannot destroy itself: vast gave it no credential for that\n" in ran.stderr
    assert "only the guard on this machine ends it" in ran.stderr
    assert {(stop["by"], stop["armed"]) for stop in ran.json["stops"]} == {("supervisor", False), ("guard", True)}
    (instance,) = made(vast)
    wait_until(lambda: not living(vast))
    assert {request.bearer for request in deletes(vast, instance)} == {vast.key}
    wait_until(lambda: gpu.ls()[0]["state"] == "gone")
    assert gpu.ls()[0]["reason"] == "idle"


def test_down_comes_back_when_the_cloud_says_that_it_is_gone_and_never_stops_it(
    gpu: Gpu, vast: VastEmulator, launched: Instance
) -> None:
    vast.misbehave({"do": "delete-lag", "seconds": GONE_S})
    down = gpu("down", "tiny", "--json")
    assert down.exit == 0, down.stderr
    assert vast.clock.now() >= (launched.gone_at or 0) + GONE_S
    assert living(vast) == []
    assert asked(vast, "PUT", f"v0/instances/{launched.id}/") == []
    assert gpu.state_of("tiny") == "gone"
    again = gpu("down", "tiny")
    assert (again.exit, "tiny was gone already" in again.stderr) == (0, True)
    assert gpu("down", "another").exit == 8


def test_a_delete_that_claims_to_work_and_does_not_is_status_9_naming_the_instance_and_can_be_repeated(
    gpu: Gpu, vast: VastEmulator, launched: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.kill_guard()
    vast.misbehave({"do": "delete-204-stays"})
    with monkeypatch.context() as patch:
        patch.setattr(driver, "COMMAND", (sys.executable, "-c", IMPATIENT))
        down = gpu("down", "tiny", "--json")
    assert (down.exit, down.error["code"]) == (9, "cleanup-unconfirmed")
    assert down.error["still_billing"] == [launched.label]
    assert str(launched.label) in down.error["hint"]
    with vast.lock:
        vast.misbehaviour.clear()
    vast.misbehave({"do": "delete-500-works"})
    again = gpu("down", "tiny")
    assert again.exit == 0, again.stderr
    assert living(vast) == []


def test_a_wrong_key_is_not_taken_for_gone_and_the_right_one_ends_it_from_any_machine_by_its_name_at_the_cloud(
    gpu: Gpu, vast: VastEmulator, launched: Instance, tmp_path: Path
) -> None:
    gpu.kill_guard()
    down = gpu("down", "tiny", "--json", env={"VAST_API_KEY": "0bad" * 16})
    assert (down.exit, down.error["still_billing"]) == (9, [launched.label])
    assert living(vast) == [str(launched.id)]
    elsewhere = {"GPU_HOME": str(tmp_path / "elsewhere")}
    assert gpu("down", "small", env=elsewhere).exit == 8
    down = gpu("down", str(launched.label), "--json", env=elsewhere)
    assert down.exit == 0, down.stderr
    assert [one["name"] for one in down.json["ended"]] == ["tiny"]
    assert living(vast) == []


def test_gc_finds_what_is_ours_from_nothing_and_leaves_what_is_somebody_elses(
    gpu: Gpu, vast: VastEmulator, launched: Instance, web: httpx.Client, tmp_path: Path
) -> None:
    theirs = [by_hand(web, vast, label) for label in ("gpu-x", "gpu-tiny-abc123", "training")]
    elsewhere = {"GPU_HOME": str(tmp_path / "elsewhere")}
    seen = gpu("gc", "--dry-run", "--json", env=elsewhere)
    assert [one["resource_name"] for one in seen.json["left"]] == [launched.label]
    assert gpu("down", "gpu-x", env=elsewhere).exit == 8
    gc = gpu("gc", "--yes", "--json", env=elsewhere)
    assert gc.exit == 0, gc.stderr
    assert [one["resource_name"] for one in gc.json["removed"]] == [launched.label]
    assert living(vast) == theirs


def test_a_command_runs_with_an_endpoint_of_its_own_that_ends_with_it(
    gpu: Gpu, vast: VastEmulator, rentable: Rentable
) -> None:
    ran = gpu("run", rentable("H100"), "--provider", "vast", "--", sys.executable, "-c", ASKING)
    assert ran.exit == 0, ran.stderr
    status, base_url = ran.stdout.split()
    assert (status, base_url.startswith("http://127.0.0.1:")) == ("200", True)
    assert len(made(vast)) == 1
    assert living(vast) == []


def by_hand(web: httpx.Client, cloud: VastEmulator, label: str) -> str:
    """An instance that somebody made without this program."""
    headers = {"Authorization": f"Bearer {cloud.key}"}
    search = {"gpu_name": {"eq": "RTX 4090"}, "direct_port_count": {"gte": 1}, "order": [["dph_total", "asc"]]}
    offers = web.post(f"{cloud.url}/api/v0/bundles/", json=search, headers=headers).json()["offers"]
    body = {
        "client_id": "me",
        "image": "python:3.11",
        "disk": 20,
        "label": label,
        "runtype": "args",
        "onstart": "/bin/sh",
        "args": ["-c", "sleep 600"],
        "env": {"-p 8000:8000": "1", "MODE": "training"},
    }
    answer = web.put(f"{cloud.url}/api/v0/asks/{offers[0]['id']}/", json=body, headers=headers)
    return str(answer.json()["new_contract"])
