"""`gpu up` at Lambda on machines that are not to be believed: what is waited for, mended, given up, and remembered."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from driver import Gpu, wait_until
from emulators.lambda_cloud import LambdaEmulator
from rented_at_lambda import ended, kept_here, launches, living, places, up

Rentable = Callable[..., str]
ONE = {"names": ["H100"], "count": 1}
FIRST, SECOND, THIRD = (f"gpu_1x_h100_sxm5@{region}" for region in ("us-east-1", "us-south-2", "us-south-3"))


@pytest.fixture(scope="module")
def datacenter() -> Iterator[LambdaEmulator]:
    """There are three machines for everyone."""
    with LambdaEmulator(engine="stub", stock={"gpu_1x_h100_sxm5": ("us-east-1", "us-south-2", "us-south-3")}) as cloud:
        yield cloud


@contextmanager
def dropping_connections(cloud: LambdaEmulator, after_s: float) -> Iterator[None]:
    """With the SSH server of the newest machine, less and less often: a busy machine takes longer to log in."""
    enough = threading.Event()

    def drop() -> None:
        pause_s = after_s
        while not enough.wait(pause_s):
            pause_s *= 1.5
            with suppress(LookupError):
                cloud.drop_ssh(launches(cloud)[-1]["name"] if launches(cloud) else "")

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def known(gpu: Gpu, name: str) -> Any:
    """What this side knows of a machine."""
    (folder,) = [folder for folder in kept_here(gpu) if folder.name == name]
    return json.loads((folder / "machine.json").read_text())


def avoided(gpu: Gpu, recipe: str) -> dict[str, str]:
    """Why `gpu plan` leaves some alone, by their type and region."""
    plan = gpu("plan", recipe, "--provider", "lambda", "--all")
    assert plan.exit == 0, plan.stderr
    return dict(re.findall(r"^not lambda-(\S+): its host did not come up lately: (.+)", plan.stderr, re.MULTILINE))


def test_a_machine_that_boots_late_lets_nobody_in_and_drops_connections_comes_up_all_the_same(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave({"do": "auth-late", "seconds": 1.0})
    with dropping_connections(at_lambda, after_s=0.7):
        launched = up(gpu, rentable(gpu=ONE))
    assert launched.exit == 0, launched.stderr
    assert len(launches(at_lambda)) == 1, gpu.ls()
    assert living(at_lambda) == [launched.json["resource_id"]]


def test_what_can_be_mended_on_a_machine_is_and_what_had_to_be_trusted_is_told(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave({"do": "plants-no-host-key"}, {"do": "docker-broken"}, {"do": "old-driver"})
    launched = up(gpu, rentable(gpu=ONE))
    assert launched.exit == 0, launched.stderr
    (body,) = launches(at_lambda)
    told = (
        f"{body['name']}: its SSH server did not have the host key that was made for it. The one that it showed first"
    )
    assert f"{told} is trusted." in launched.stderr
    (folder,) = kept_here(gpu)
    shown, *_ = (folder / "known_hosts").read_text().splitlines()
    assert shown.split()[-1] not in body["user_data"]
    assert at_lambda.container(body["name"]).spec.image == "vllm/vllm-openai:v0.32.0-cu129"
    assert "restarting Docker, with NVIDIA's container runtime" in gpu("logs", "tiny").stdout


def test_where_cuda_fails_and_where_somebody_else_answers_it_is_ended_and_left_alone_and_the_next_is_taken(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave(
        {"do": "broken-gpu", "gpu": FIRST},
        {"do": "auth-late", "gpu": SECOND, "seconds": 600.0},
    )
    recipe = rentable(gpu=ONE)
    run = gpu.start("up", recipe, "--provider", "lambda", "--json")
    wait_until(lambda: len(launches(at_lambda)) == 2)
    name = launches(at_lambda)[1]["name"]
    wait_until(lambda: known(gpu, name)["met"])
    at_lambda.change_host_key(name)
    launched = run.result()
    assert launched.exit == 0, launched.stderr
    assert places(at_lambda) == [FIRST, SECOND, THIRD]
    assert living(at_lambda) == [launched.json["resource_id"]] not in ended(at_lambda)
    assert [folder.name for folder in kept_here(gpu)] == [launches(at_lambda)[2]["name"]]
    reasons = avoided(gpu, recipe)
    assert sorted(reasons) == [FIRST, SECOND]
    assert "CUDA does not initialise (error 802)" in reasons[FIRST]
    assert "its SSH host key has changed" in reasons[SECOND]
    again = up(gpu, recipe, "--name", "again", "--no-wait")
    assert again.exit == 0, again.stderr
    assert places(at_lambda)[3:] == [THIRD]


def test_an_image_that_no_registry_has_is_refused_at_once_and_not_tried_elsewhere(
    gpu: Gpu, at_lambda: LambdaEmulator, rentable: Rentable
) -> None:
    at_lambda.misbehave({"do": "no-image"})
    refused = up(gpu, rentable(gpu=ONE))
    assert refused.exit == 2, refused.stderr
    assert "its registry does not have the image" in refused.error["message"]
    assert (places(at_lambda), living(at_lambda), kept_here(gpu)) == ([FIRST], [], [])
