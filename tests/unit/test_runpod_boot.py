"""How a pod's start is read from its host's log: progress, hosts that will never do it, and crash loops."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from emulators.runpod import RunPodEmulator
from runpod_account import offer_of, pod_request, provider_at

from gpu_providers.base import Boot
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest, NotFound, ProviderError
from gpu_providers.runpod import pod_answers
from gpu_providers.runpod.boot import FRESH_S, boot, is_fresh, starts
from gpu_providers.runpod.provider import RunPodProvider

IMAGE = "vllm/vllm-openai:v0.32.0"
PULLING = {"id": "pod1", "status": "RUNNING", "runtime": None}
START = f"start container for {IMAGE}: begin"


def running(uptime_s: float) -> dict[str, Any]:
    return {"id": "pod1", "status": "RUNNING", "runtime": {"uptime": uptime_s}}


@pytest.mark.parametrize(
    ("log", "detail"),
    [
        ([], "waiting for the host (RUNNING, but its container has not started)"),
        ([f"create container {IMAGE}"], "pulling the image"),
        (
            [f"create container {IMAGE}", "a3f9c2d1e0b4 Pulling fs layer", "b3f9c2d1e0b4 Pulling fs layer"],
            "pulling the image: 0 of 2 layers",
        ),
        (
            ["a3f9c2d1e0b4 Pulling fs layer", "b3f9c2d1e0b4 Pulling fs layer", "a3f9c2d1e0b4 Pull complete"],
            "pulling the image: 1 of 2 layers",
        ),
        (
            ["a3f9c2d1e0b4: Already exists", "b3f9c2d1e0b4: Downloading [==>   ]  1.2GB/5.4GB"],
            "pulling the image: 1 of 2 layers, downloading 1.2GB/5.4GB",
        ),
        (
            ["a3f9c2d1e0b4 Pull complete", f"Status: Downloaded newer image for {IMAGE}"],
            "the image is pulled",
        ),
        ([f"Status: Image is up to date for {IMAGE}"], "the image is pulled"),
        ([f"Status: Image is up to date for {IMAGE}", START], "starting the container"),
        ([START, "stop container"], "the host takes the container down"),
        ([START, "stop container", "remove container"], "the host takes the container down"),
    ],
)
def test_the_way_to_the_container_is_told(log: Sequence[str], detail: str) -> None:
    assert boot(PULLING, log) == Boot(running=False, detail=detail)


def test_a_pull_that_moves_changes_what_is_told() -> None:
    log = [f"{layer:012x} Pulling fs layer" for layer in range(20)]
    told = []
    for layer in range(20):
        log.append(f"{layer:012x} Pull complete")
        told.append(boot(PULLING, log).detail)
    assert len(set(told)) == 20
    assert told[11] == "pulling the image: 12 of 20 layers"


def test_a_container_that_runs_says_for_how_long() -> None:
    assert boot(running(7), [START]) == Boot(running=True, detail="the container runs", uptime_s=7.0)


def test_running_is_not_believed_before_there_is_a_container() -> None:
    assert not boot({"id": "pod1", "status": "RUNNING"}, []).running


@pytest.mark.parametrize("status", ["PROVISIONING", "STARTING", "HIBERNATING"])
def test_a_status_on_the_way_or_unknown_is_no_reason_to_give_up(status: str) -> None:
    assert boot({"id": "pod1", "status": status, "runtime": None}, []) == Boot(
        False, f"waiting for the host ({status})"
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (f"failed to pull image {IMAGE}: unexpected EOF", HostFailed),
        ("Failed to get Hub registry auth", HostFailed),
        ("layer does not exist", HostFailed),
        ("failed to register layer: lchown /usr/bin: invalid argument", HostFailed),
        ('error starting container: exec: "python3": executable file not found in $PATH', InvalidRequest),
        ("error creating container: OCI runtime create failed", HostFailed),
        (
            "error starting container: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8",
            HostFailed,
        ),
        ("failed to register layer: Container ID 166637 cannot be mapped to a host ID", HostFailed),
        (f"failed to pull image {IMAGE}: manifest unknown", InvalidRequest),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", InvalidRequest),
    ],
)
def test_a_fatal_line_of_the_host_ends_the_wait_with_the_line_itself(line: str, error: type[ProviderError]) -> None:
    log = [f"create container {IMAGE}", line]
    with pytest.raises(error) as ended:
        boot(PULLING, log)
    assert type(ended.value) is error
    assert line in ended.value.message


def test_an_old_driver_is_named_as_the_cause() -> None:
    line = "error starting container: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0"
    with pytest.raises(HostFailed, match="driver of this host is too old"):
        boot(PULLING, [line])


@pytest.mark.parametrize("pod", [PULLING, running(1)])
def test_a_second_start_is_a_crash_loop_whether_or_not_it_runs_just_now(pod: dict[str, Any]) -> None:
    with pytest.raises(CommandCrashed, match=r"crash loop: .* 2 times"):
        boot(pod, [START, START])


@pytest.mark.parametrize("status", ["EXITED", "ERROR"])
def test_a_pod_that_was_stopped_while_it_booted_has_failed_on_this_host(status: str) -> None:
    with pytest.raises(HostFailed, match=status):
        boot({"id": "pod1", "status": status, "runtime": None}, [])


def test_a_pull_that_failed_at_first_and_then_worked_is_forgiven() -> None:
    log = ["failed to pull image: unexpected EOF", f"Status: Downloaded newer image for {IMAGE}"]
    assert boot(PULLING, log) == Boot(running=False, detail="the image is pulled")


def test_a_fatal_line_is_of_no_account_once_the_container_runs() -> None:
    assert boot(running(1), ["failed to pull image: timeout", START]).running


def test_one_start_is_counted_once_and_its_errors_not_at_all() -> None:
    assert starts([START, f"start container for {IMAGE}: end", "error starting container: x"]) == 1


def test_a_container_that_has_run_for_long_needs_no_log() -> None:
    assert is_fresh(PULLING)
    assert is_fresh(running(FRESH_S - 1))
    assert not is_fresh(running(FRESH_S))


# Over the wire


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as emulator:
        yield emulator


@pytest.fixture
def provider(cloud: RunPodEmulator, tmp_path: Path) -> RunPodProvider:
    return provider_at(cloud, tmp_path)


def looks(provider: RunPodProvider, cloud: RunPodEmulator, *rules: Mapping[str, Any]) -> Iterator[Boot]:
    """What is told of a pod that is launched under these rules, look by look, for some seconds."""
    cloud.misbehave(*rules)
    pod_id = provider.launch(pod_request(offer_of(provider))).resource_id
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        yield provider.boot(pod_id)
        time.sleep(0.05)


def test_a_pod_is_watched_from_the_pull_to_its_container(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    watched = looks(provider, cloud, {"do": "early-running", "seconds": 4.0})
    assert re.fullmatch(r"pulling the image: \d of 5 layers", next(watched).detail)
    assert next(look for look in watched if look.running).uptime_s is not None


def test_a_host_that_never_boots_says_nothing_and_is_not_called_running(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    look = next(looks(provider, cloud, {"do": "never-boots"}))
    assert not look.running
    assert look.detail == "waiting for the host (RUNNING, but its container has not started)"
    assert look.price_usd_per_hour, "it bills from its order on"


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"do": "system-line", "text": "error starting container: unsatisfied condition: cuda>=13.0"}, HostFailed),
        ({"do": "system-line", "text": "failed to pull image: no space left on device"}, InvalidRequest),
        ({"do": "preempt", "seconds": 0.1}, HostFailed),
        ({"do": "crash-loop", "seconds": 0.3}, CommandCrashed),
    ],
)
def test_the_wait_is_ended_by_what_the_host_says(
    provider: RunPodProvider, cloud: RunPodEmulator, rule: dict[str, Any], error: type[ProviderError]
) -> None:
    with pytest.raises(error):
        list(looks(provider, cloud, rule))


def test_a_pod_boots_although_its_log_cannot_be_read(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    watched = looks(provider, cloud, {"do": "server-error", "call": "logs"})
    assert next(look for look in watched if look.running).uptime_s is not None


def test_a_pod_that_is_gone_does_not_boot(provider: RunPodProvider) -> None:
    pod_id = provider.launch(pod_request(offer_of(provider))).resource_id
    provider.terminate(pod_id)
    with pytest.raises(NotFound):
        provider.boot(pod_id)


@pytest.mark.parametrize(("status", "usd_per_hour"), [("RUNNING", 0.72), ("EXITED", 0.0), ("NEWER", 0.72)])
def test_a_pod_that_is_stopped_bills_nothing_whatever_its_cost_still_says(status: str, usd_per_hour: float) -> None:
    assert pod_answers.usd_per_hour({"id": "pod1", "status": status, "cost": 0.72}) == usd_per_hour
