"""Every way in which a machine at Lambda ends, and what is asked and said beforehand of who would end it."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from driver import Gpu, wait_until
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.instances import Instance
from rented import asked, billed, supervisor_of
from rented_at_lambda import ended, kept_here, launches, living, terminations, up

Rentable = Callable[..., str]


@pytest.fixture
def slow_boots(at_lambda: LambdaEmulator) -> LambdaEmulator:
    """Where everything boots for as long as it lives."""
    at_lambda.misbehave({"do": "never-boots"})
    return at_lambda


def only(cloud: LambdaEmulator) -> Instance:
    """The instance that exists."""
    with cloud.lock:
        (instance,) = cloud.instances
    return instance


def runs(cloud: LambdaEmulator, instance_id: str) -> bool:
    """Whether a container was started on its machine."""
    try:
        return bool(cloud.container(instance_id))
    except LookupError:
        return False


def reason(gpu: Gpu) -> tuple[Any, Any]:
    """Why it is gone, once that is on record."""
    wait_until(lambda: gpu.ls()[0]["state"] in ("gone", "failed"))
    listed = gpu.ls()[0]
    return listed["state"], listed["reason"]


# Who would end it


def test_without_a_word_nothing_is_ordered_and_with_one_it_is_said_who_ends_it(
    gpu: Gpu, slow_boots: LambdaEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100", limits={"idle": "60s"})
    refused = up(gpu, recipe, "--no-wait")
    assert (refused.exit, refused.error["code"]) == (2, "nothing-ends-it")
    assert launches(slow_boots) == []
    launched = up(gpu, recipe, "--no-wait", "--yes")
    assert launched.exit == 0, launched.stderr
    assert "so far only the guard on this machine ends it: while this machine sleeps or is off" in launched.stderr
    assert "gpu guard install" in launched.stderr
    assert {stop["by"] for stop in launched.json["stops"] if stop["armed"]} == {"guard"}


def test_with_a_key_of_its_own_a_machine_ends_itself_when_idle_with_nobodys_help(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    recipe = rentable("H100", providers={"lambda": {"on_node_key": True}}, limits={"idle": "1s"})
    ran = up(gpu, recipe)
    assert ran.exit == 0, ran.stderr
    assert "only the guard" not in ran.stderr
    gpu.kill_guard()
    instance = ran.json["resource_id"]
    assert at_lambda.key not in str(supervisor_of({"env": at_lambda.container(instance).spec.env}))
    wait_until(lambda: not living(at_lambda))
    (request,) = terminations(at_lambda)
    assert (request.json(), request.bearer) == ({"instance_ids": [instance]}, at_lambda.key)
    assert request.headers["user-agent"].startswith("gpu-cli/")
    (listed,) = gpu.ls()
    assert (listed["state"], listed["reason"]) == ("gone", "idle")
    assert not billed(at_lambda, instance)["alive"]
    assert kept_here(gpu) == []


def test_without_one_its_engine_stops_when_idle_and_the_guard_ends_it_and_says_why(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    ran = up(gpu, rentable("H100"), "--idle", "1s")
    assert ran.exit == 0, ran.stderr
    wait_until(lambda: not living(at_lambda))
    assert ended(at_lambda) == [ran.json["resource_id"]]
    assert reason(gpu) == ("gone", "idle")


def test_what_nobody_waits_for_is_set_up_by_the_guard_and_ended_at_its_deadline(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable, database: Callable[[str], None]
) -> None:
    ran = up(gpu, rentable("H100"), "--no-wait")
    assert ran.exit == 0, ran.stderr
    wait_until(lambda: runs(at_lambda, ran.json["resource_id"]))
    database("UPDATE deployments SET deadline_at = launched_at + 0.1")
    wait_until(lambda: not living(at_lambda))
    assert reason(gpu)[1] == "deadline"


def test_what_a_killed_command_was_setting_up_is_ended_by_the_guard(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_lambda, "pull_s", 60.0)
    run = gpu.start("up", rentable("H100"), "--provider", "lambda")
    wait_until(lambda: living(at_lambda))
    wait_until((at_lambda.home(only(at_lambda).id) / ".gpu-machine" / "parcel.json").exists)
    run.signal(signal.SIGKILL)
    wait_until(lambda: not living(at_lambda))
    assert reason(gpu)[0] == "failed"
    assert kept_here(gpu) == []


# From elsewhere


def test_it_is_ended_by_its_name_at_the_cloud_from_a_home_that_knows_nothing(
    gpu: Gpu, slow_boots: LambdaEmulator, rentable: Rentable, tmp_path: Path
) -> None:
    assert up(gpu, rentable("H100"), "--no-wait").exit == 0
    gpu.kill_guard()
    down = gpu("down", only(slow_boots).name, "--json", env={"GPU_HOME": str(tmp_path / "elsewhere")})
    assert down.exit == 0, down.stderr
    assert [one["name"] for one in down.json["ended"]] == ["tiny"]
    assert living(slow_boots) == []


def test_gc_ends_what_is_ours_from_nothing_and_leaves_what_is_somebody_elses(
    gpu: Gpu, slow_boots: LambdaEmulator, rentable: Rentable, web: httpx.Client, tmp_path: Path
) -> None:
    assert up(gpu, rentable("H100"), "--no-wait").exit == 0
    gpu.kill_guard()
    ours = only(slow_boots)
    theirs = [by_hand(web, slow_boots, ours, name) for name in ("gpu-x", "gpu-tiny-abc123", "training")]
    gc = gpu("gc", "--yes", "--json", env={"GPU_HOME": str(tmp_path / "elsewhere")})
    assert gc.exit == 0, gc.stderr
    assert [one["resource_name"] for one in gc.json["removed"]] == [ours.name]
    assert living(slow_boots) == theirs


def by_hand(web: httpx.Client, cloud: LambdaEmulator, like: Instance, name: str) -> str:
    """An instance that somebody launched without this program."""
    said = ("instance_type_name", "region_name", "ssh_key_names")
    body = {**{field: like.body[field] for field in said}, "name": name}
    headers = {"Authorization": f"Bearer {cloud.key}", "User-Agent": "curl/8.5.0"}
    answer = web.post(f"{cloud.url}/api/v1/instance-operations/launch", json=body, headers=headers)
    return str(answer.json()["data"]["instance_ids"][0])


# To be reached from outside


def test_a_public_one_is_open_to_its_user_alone_until_it_ends(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable, web: httpx.Client
) -> None:
    ran = up(gpu, rentable("H100"), "--public", "--show-key")
    assert ran.exit == 0, ran.stderr
    assert "travel unencrypted over the internet (lambda)" in ran.stderr
    address = only(at_lambda).machine.address
    assert ran.json["base_url"] == f"http://{address}:8000/v1"
    (entry,) = launches(at_lambda)[0]["firewall_rulesets"]
    ruleset = at_lambda.firewall.get(entry["id"])
    assert ruleset
    opened = [(rule.get("port_range"), rule["source_network"]) for rule in ruleset.rules if rule["protocol"] == "tcp"]
    assert opened == [([22, 22], "0.0.0.0/0"), ([8000, 8000], "127.0.0.1/32")]
    key = {"Authorization": f"Bearer {ran.json['api_key']}"}
    assert web.get(f"{ran.json['base_url']}/models", headers=key).json()["data"][0]["id"] == "tiny"
    assert web.get(f"{ran.json['base_url']}/models").status_code == 401
    down = gpu("down")
    assert down.exit == 0, down.stderr
    assert asked(at_lambda, "DELETE", f"firewall-rulesets/{entry['id']}")
    assert at_lambda.firewall.get(entry["id"]) is None
