"""`gpu volume` as a user has it, against emulated clouds, RunPod with its S3 API, and an emulated Hugging Face."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from driver import Gpu
from emulators.lambda_cloud import LambdaEmulator
from emulators.runpod import RunPodEmulator
from hub_emulator import COMMIT, HubEmulator, Repository, running_hub

from gpu_cli.exits import Exit

WEIGHTS = random.Random(0).randbytes(100_000)


@pytest.fixture
def hub() -> Iterator[HubEmulator]:
    with running_hub() as hub:
        hub.repositories["acme/tiny"] = Repository({"config.json": b"{}", "model.safetensors": WEIGHTS})
        yield hub


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, hub: HubEmulator) -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as cloud:
        for name, value in {**cloud.env, **hub.environ, "GPU_RUNPOD_POLL_S": "0.1"}.items():
            monkeypatch.setenv(name, value)
        yield cloud


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch) -> Iterator[LambdaEmulator]:
    """A cloud whose volumes have no size."""
    with LambdaEmulator() as cloud:
        for name, value in {**cloud.env, "GPU_LAMBDA_POLL_S": "0.1"}.items():
            monkeypatch.setenv(name, value)
        yield cloud


def create(gpu: Gpu, name: str = "weights") -> Any:
    ran = gpu("volume", "create", name, "--size", "100", "--region", "EU-RO-1", "--json")
    assert ran.exit == Exit.DONE, ran.stderr
    return ran.json["volume"]


def test_a_volume_is_made_shown_and_deleted(gpu: Gpu, cloud: RunPodEmulator) -> None:
    made = create(gpu)
    assert made == {
        "provider": "runpod",
        "id": made["id"],
        "name": "weights",
        "size_gb": 100,
        "region": "EU-RO-1",
        "price_usd_per_month": 7.0,
    }
    listed = gpu("volume", "ls", "--json").json
    assert listed == {"version": 1, "volumes": [made]}
    shown = gpu("volume", "ls").stdout
    assert "weights" in shown
    assert "$7.00" in shown
    removed = gpu("volume", "rm", "weights", "--yes", "--json").json
    assert removed == {"version": 1, "removed": made}
    assert gpu("volume", "ls", "--json").json["volumes"] == []


def test_what_it_costs_is_told_when_it_is_made(gpu: Gpu, cloud: RunPodEmulator) -> None:
    ran = gpu("volume", "create", "weights", "--size", "100", "--region", "EU-RO-1")
    assert "$7.00 a month" in ran.stderr
    assert ran.stdout.strip() == next(iter(cloud.volumes)).id


def test_what_is_in_the_way_of_filling_it_is_told_when_it_is_made(gpu: Gpu, cloud: RunPodEmulator) -> None:
    where = ("--size", "100", "--region", "EU-RO-1")
    assert "next: gpu volume push" in gpu("volume", "create", "a", *where).stderr
    without_key = gpu("volume", "create", "b", *where, env={"RUNPOD_S3_ACCESS_KEY_ID": ""})
    assert without_key.exit == Exit.DONE
    assert "RUNPOD_S3_ACCESS_KEY_ID is not set" in without_key.stderr


def test_a_volume_without_a_size_is_told_as_one_that_grows(gpu: Gpu, growing: LambdaEmulator) -> None:
    at = ("--provider", "lambda")
    made = gpu("volume", "create", "weights", "--region", "us-east-3", *at)
    assert made.exit == Exit.DONE, made.stderr
    assert "made weights in us-east-3: it grows with what is put into it, and costs by that" in made.stderr
    assert "--size" not in made.stderr
    (listed,) = gpu("volume", "ls", *at, "--json").json["volumes"]
    assert (listed["id"], listed["size_gb"]) == (made.stdout.strip(), None)
    assert "grows" in gpu("volume", "ls", *at).stdout
    assert gpu("volume", "rm", "weights", "--yes", *at).exit == Exit.DONE
    assert "make one: gpu volume create --provider lambda" in gpu("volume", "ls", *at).stderr


def test_a_size_where_there_is_none_is_told_to_be_of_no_use(gpu: Gpu, growing: LambdaEmulator) -> None:
    ran = gpu("volume", "create", "weights", "--size", "100", "--region", "us-east-3", "--provider", "lambda")
    assert ran.exit == Exit.DONE, ran.stderr
    assert "--size was ignored" in ran.stderr


def test_without_a_size_where_one_is_needed_the_sizes_that_there_are_are_told(gpu: Gpu, cloud: RunPodEmulator) -> None:
    ran = gpu("volume", "create", "weights", "--region", "EU-RO-1", "--json")
    assert ran.exit == Exit.BAD_INPUT
    assert "--size from 10 to 4096 GB" in ran.error["hint"]
    assert list(cloud.volumes) == []


def test_nothing_is_deleted_unasked(gpu: Gpu, cloud: RunPodEmulator) -> None:
    create(gpu)
    ran = gpu("volume", "rm", "weights")
    assert ran.exit == Exit.BAD_INPUT
    assert "--yes" in ran.stderr
    assert len(list(cloud.volumes)) == 1


def test_a_name_that_several_have_is_not_guessed(gpu: Gpu, cloud: RunPodEmulator) -> None:
    import httpx

    key = {"Authorization": f"Bearer {cloud.key}"}
    body = {"name": "weights", "size": 10, "dataCenter": "EU-RO-1"}
    ids = [httpx.post(f"{cloud.url}/v2/network-volumes", json=body, headers=key).json()["id"] for _ in range(2)]
    ran = gpu("volume", "rm", "weights", "--yes", "--json")
    assert (ran.exit, ran.error["code"]) == (Exit.BAD_INPUT, "which-one")
    assert all(id_ in ran.error["message"] for id_ in ids)
    assert gpu("volume", "rm", ids[0], "--yes").exit == Exit.DONE


def test_an_unknown_volume_is_told_with_those_that_there_are(gpu: Gpu, cloud: RunPodEmulator) -> None:
    create(gpu)
    ran = gpu("volume", "rm", "other", "--yes", "--json")
    assert (ran.exit, ran.error["code"]) == (Exit.BAD_INPUT, "no-such-volume")
    assert "weights" in ran.error["hint"]


def test_a_delete_that_does_not_work_is_told_as_still_billing(
    gpu: Gpu, cloud: RunPodEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(gpu)
    cloud.misbehave({"do": "delete-204-stays", "call": "volumes"})
    ran = gpu("volume", "rm", "weights", "--yes", "--json")
    assert ran.exit == Exit.CLEANUP_UNCONFIRMED
    assert made["id"] in ran.error["still_billing"][0]


def test_a_create_of_unknown_outcome_is_told_as_one_that_may_bill(gpu: Gpu, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "server-error", "call": "volumes", "after": 1, "times": 1})
    ran = gpu("volume", "create", "weights", "--size", "100", "--region", "EU-RO-1", "--json")
    assert (ran.exit, ran.error["code"]) == (Exit.CLEANUP_UNCONFIRMED, "create-unknown")


def test_a_model_is_pushed_and_found_again(gpu: Gpu, cloud: RunPodEmulator) -> None:
    made = create(gpu)
    ran = gpu("volume", "push", "acme/tiny", "--volume", "weights", "--json")
    assert ran.exit == Exit.DONE, ran.stderr
    said = ran.json
    assert (said["model"], said["revision"], said["commit"]) == ("acme/tiny", "main", COMMIT)
    assert (said["hub_cache"], said["volume"]) == ("/runpod-volume/huggingface/hub", made)
    assert said["sent_bytes"] == said["bytes"] == len(WEIGHTS) + 2
    folder = f"huggingface/hub/models--acme--tiny/snapshots/{COMMIT}"
    assert cloud.volumes.s3.files(made["id"])[f"{folder}/model.safetensors"] == WEIGHTS
    again = gpu("volume", "push", "acme/tiny", "--volume", made["id"])
    assert again.exit == Exit.DONE
    assert "0.0 sent now" in again.stderr
    assert "cache: {runpod: weights}" in again.stderr


def test_without_an_s3_key_nothing_is_pushed(gpu: Gpu, cloud: RunPodEmulator) -> None:
    create(gpu)
    ran = gpu("volume", "push", "acme/tiny", "--volume", "weights", "--json", env={"RUNPOD_S3_ACCESS_KEY_ID": ""})
    assert ran.exit == Exit.CREDENTIALS
    assert "RUNPOD_S3_ACCESS_KEY_ID" in ran.error["message"]


def test_a_wrong_s3_key_is_a_matter_of_credentials(gpu: Gpu, cloud: RunPodEmulator) -> None:
    create(gpu)
    ran = gpu("volume", "push", "acme/tiny", "--volume", "weights", env={"RUNPOD_S3_ACCESS_KEY_ID": "user_other"})
    assert ran.exit == Exit.CREDENTIALS


def test_without_a_key_it_is_named_with_where_to_get_one(gpu: Gpu, cloud: RunPodEmulator) -> None:
    ran = gpu("volume", "ls", "--json", env={"RUNPOD_API_KEY": ""})
    assert ran.exit == Exit.CREDENTIALS
    assert "RUNPOD_API_KEY" in ran.error["hint"]


def test_a_provider_without_volumes_is_told_as_such(gpu: Gpu) -> None:
    ran = gpu("volume", "ls", "--provider", "local", "--json")
    assert (ran.exit, ran.error["code"]) == (Exit.BAD_INPUT, "no-volumes")


def test_an_unknown_provider_is_told_with_those_that_there_are(gpu: Gpu) -> None:
    ran = gpu("volume", "ls", "--provider", "nowhere", "--json")
    assert ran.exit == Exit.BAD_INPUT
    assert "runpod" in ran.error["hint"]
