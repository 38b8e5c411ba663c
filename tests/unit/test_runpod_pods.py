"""A pod's life at RunPod: what is sent, what is read back, what is ours, and how it ends."""

import json
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulators.runpod import RunPodEmulator
from runpod_account import H100, IMAGE, RTX_4090, offer_of, pod_request, provider_at
from scripted_server import Reply, ScriptedServer, problem

from gpu_providers.base import Kind, ProviderContext, Resource, ResourceState, Secret
from gpu_providers.errors import (
    AuthError,
    CreateUnknown,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    ProviderUnavailable,
)
from gpu_providers.runpod.provider import POLL_VARIABLE, RunPodProvider


@pytest.fixture
def cloud() -> Iterator[RunPodEmulator]:
    with RunPodEmulator() as emulator:
        yield emulator


@pytest.fixture
def provider(cloud: RunPodEmulator, tmp_path: Path) -> RunPodProvider:
    return provider_at(cloud, tmp_path)


def launched(provider: RunPodProvider, name: str = "gpu-test-1", **changes: Any) -> Resource:
    return provider.launch(pod_request(offer_of(provider), name, **changes))


def creates(cloud: RunPodEmulator) -> list[dict[str, Any]]:
    """The bodies of all requests for a pod."""
    return [request.json() for request in cloud.requests if (request.method, request.path) == ("POST", "/v2/pods")]


def eventually(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def by_hand(cloud: RunPodEmulator, **body: Any) -> str:
    """A pod that the user makes without us; its id."""
    usual = {"image": "busybox", "cloud": "SECURE", "gpu": {"id": RTX_4090, "count": 1}}
    headers = {"Authorization": f"Bearer {cloud.key}"}
    answer = httpx.post(f"{cloud.url}/v2/pods", json={**usual, **body}, headers=headers)
    return str(answer.raise_for_status().json()["id"])


# What is sent


def test_nothing_is_left_to_the_defaults_of_runpod(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    provider.launch(pod_request(offer_of(provider, H100, count=2), min_cuda_version="13.0"))
    (body,) = creates(cloud)
    assert body["name"] == "gpu-test-1"
    assert body["image"] == IMAGE
    assert body["cloud"] == "SECURE"
    assert body["gpu"] == {"id": H100, "count": 2, "minCudaVersion": "13.0"}
    assert body["disk"] == 65
    assert body["ports"] == ["8000/http"]
    assert body.keys().isdisjoint({"mounts", "dataCenterIds", "registry", "args"})


def test_entrypoint_and_command_replace_those_of_the_image(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    launched(provider)
    (body,) = creates(cloud)
    assert (body["entrypoint"], body["cmd"]) == (["python3"], ["-c", "print('hello world')"])


def test_where_arrays_are_refused_they_go_as_json_text(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "no-arrays"})
    launched(provider)
    body = creates(cloud)[-1]
    assert json.loads(body["args"]) == {"entrypoint": ["python3"], "cmd": ["-c", "print('hello world')"]}
    assert body.keys().isdisjoint({"entrypoint", "cmd"})
    assert len(cloud.pods) == 1


def test_where_that_is_refused_too_the_command_goes_as_shell_words(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "no-arrays"}, {"do": "no-json-args"})
    launched(provider)
    assert shlex.split(creates(cloud)[-1]["args"]) == ["python3", "-c", "print('hello world')"]
    assert len(cloud.pods) == 1


def test_without_an_entrypoint_the_images_own_stays(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    launched(provider, entrypoint=(), command=("model", "--served-model-name", "my model"))
    (body,) = creates(cloud)
    assert body["args"] == "model --served-model-name 'my model'"
    assert body.keys().isdisjoint({"entrypoint", "cmd"})


def test_secrets_travel_as_environment_and_in_no_argument(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    launched(provider)
    (body,) = creates(cloud)
    assert body["env"]["VLLM_API_KEY"] == "sk-of-the-engine"
    assert "sk-of-the-engine" not in json.dumps({**body, "env": {}})


def test_what_its_command_was_launched_with_can_be_read_back(provider: RunPodProvider) -> None:
    environment = provider.environment(launched(provider).resource_id)
    assert environment["VLLM_API_KEY"].reveal() == "sk-of-the-engine"
    assert "sk-of-the-engine" not in repr(environment)


def test_regions_of_the_recipe_are_enforced(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    launched(provider, options={"regions": ["EU-RO-1"]})
    assert creates(cloud)[-1]["dataCenterIds"] == ["EU-RO-1"]


def test_a_volume_is_attached_and_decides_the_data_center(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    volume = provider.create_volume("weights", 100, "EU-RO-1")
    resource = launched(provider, volume="weights")
    (body,) = creates(cloud)
    assert body["mounts"] == {"network": [{"volumeId": volume.volume_id, "path": provider.volume_path}]}
    assert body["dataCenterIds"] == ["EU-RO-1"]
    assert resource.region == "EU-RO-1"


def test_a_private_image_is_pulled_with_the_recipes_credential(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    launched(provider, options={"registry": "cred-1"})
    assert creates(cloud)[-1]["registry"] == "cred-1"


# What is refused before RunPod is asked


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "llama"}, "cannot be the name"),
        ({"name": "gpu-" + "x" * 57}, "cannot be the name"),
        ({"name": "gpu-a b"}, "cannot be the name"),
        ({"env": {f"NAME_{n}": "1" for n in range(50)}}, "50 environment variables"),
        ({"env": {"NAME": "x" * 100_000}}, "bytes"),
        ({"options": {"clowd": "any"}}, "clowd"),
    ],
)
def test_what_cannot_be_a_pod_is_refused_without_asking(
    provider: RunPodProvider, cloud: RunPodEmulator, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidRequest, match=match) as refused:
        launched(provider, **changes)
    assert refused.value.hint
    assert creates(cloud) == []


# What is refused by RunPod


@pytest.mark.parametrize(
    ("rule", "error", "tries"),
    [
        ({"do": "no-capacity"}, NoCapacity, 1),
        ({"do": "no-funds"}, InsufficientFunds, 1),
        ({"do": "edge-block", "call": "create"}, ProviderError, 1),
    ],
)
def test_a_refused_launch_is_sent_once_and_leaves_nothing(
    provider: RunPodProvider, cloud: RunPodEmulator, rule: dict[str, Any], error: type[ProviderError], tries: int
) -> None:
    cloud.misbehave(rule)
    with pytest.raises(error) as refused:
        launched(provider)
    assert not isinstance(refused.value, CreateUnknown)
    assert len(creates(cloud)) == tries
    assert len(cloud.pods) == 0


def test_an_image_that_its_registry_lacks_is_nobodys_offer(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    with pytest.raises(InvalidRequest, match="nosuchimage"):
        launched(provider, image="vllm/nosuchimage:v1")
    assert len(cloud.pods) == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"do": "server-error", "when": "after"},
        {"do": "reset", "when": "after"},
        {"do": "truncated"},
        {"do": "html", "when": "after"},
        {"do": "missing-fields", "fields": ["id"]},
    ],
    ids=lambda rule: rule["do"],
)
def test_a_create_whose_answer_is_lost_is_unknown_sent_once_and_found_by_its_name(
    provider: RunPodProvider, cloud: RunPodEmulator, rule: dict[str, Any]
) -> None:
    cloud.misbehave({"call": "create", **rule})
    with pytest.raises(CreateUnknown):
        launched(provider)
    assert len(creates(cloud)) == 1
    found = provider.find("gpu-test-1")
    assert found is not None
    provider.terminate(found.resource_id)
    assert provider.find("gpu-test-1") is None
    assert len(cloud.pods) == 0


# What is read back


def test_a_pod_tells_all_that_a_lost_store_is_rebuilt_from(provider: RunPodProvider) -> None:
    resource = launched(provider)
    for told in (resource, provider.describe(resource.resource_id), provider.find("gpu-test-1")):
        assert told is not None
        assert (told.provider, told.name, told.resource_id) == ("runpod", "gpu-test-1", resource.resource_id)
        assert told.labels == {"recipe": "llama", "deadline_at": "1800000000.5"}
        assert told.region == "EU-RO-1"
        assert abs(told.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_endpoint_is_the_proxy_in_front_of_the_port(cloud: RunPodEmulator, tmp_path: Path) -> None:
    provider = provider_at(cloud, tmp_path, GPU_RUNPOD_PROXY_URL="")
    resource = launched(provider, port=8123)
    assert resource.endpoint == f"https://{resource.resource_id}-8123.proxy.runpod.net"


def test_the_price_is_what_runpod_charges(provider: RunPodProvider) -> None:
    resource = launched(provider)
    assert resource.price_usd_per_hour == pytest.approx(0.74 + 65 * 0.10 / 730, abs=1e-4)


def test_the_price_is_what_was_asked_as_long_as_runpod_does_not_say(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    offer = offer_of(provider, disk_gib=60)
    cloud.misbehave({"do": "missing-fields", "fields": ["cost"]})
    resource = provider.launch(pod_request(offer))
    assert resource.price_usd_per_hour == offer.price_usd_per_hour
    assert provider.describe(resource.resource_id).price_usd_per_hour == offer.price_usd_per_hour


def test_answers_without_their_optional_fields_are_understood(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "missing-fields"})
    resource = launched(provider)
    assert provider.describe(resource.resource_id).name == "gpu-test-1"
    assert [listed.resource_id for listed in provider.list_resources()] == [resource.resource_id]


def test_a_status_that_nobody_knows_is_a_pod_on_its_way(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "unknown-enum", "call": "get"})
    described = provider.describe(launched(provider).resource_id)
    assert (described.state, described.detail) == (ResourceState.STARTING, "HIBERNATING")


def test_a_list_is_read_to_its_last_page(tmp_path: Path) -> None:
    with RunPodEmulator(page_size=2, stock={RTX_4090: "HIGH"}) as cloud:
        provider = provider_at(cloud, tmp_path)
        for number in range(5):
            launched(provider, f"gpu-test-{number}")
        assert len(provider.list_resources()) == 5
        assert provider.find("gpu-test-4") is not None


# Its state


def test_running_means_that_the_container_has_started_whatever_the_status(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "early-running", "seconds": 1.0})
    resource = launched(provider)
    assert (resource.state, resource.detail) == (
        ResourceState.STARTING,
        "RUNNING, but its container has not started",
    )
    eventually(lambda: provider.describe(resource.resource_id).state is ResourceState.RUNNING)


def test_a_pod_that_was_taken_away_is_broken(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "preempt", "seconds": 0.1})
    resource = launched(provider)
    eventually(lambda: provider.describe(resource.resource_id).state is ResourceState.BROKEN)
    assert provider.describe(resource.resource_id).detail == "EXITED"


def test_a_crash_loop_is_broken_although_runpod_calls_it_running(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "crash-loop", "seconds": 0.5})
    resource = launched(provider)
    eventually(lambda: provider.describe(resource.resource_id).state is ResourceState.BROKEN)
    assert provider.describe(resource.resource_id).detail == "crash loop"


def test_a_log_that_cannot_be_read_keeps_nobody_from_seeing_the_pod(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "server-error", "call": "logs"})
    resource = launched(provider)
    eventually(lambda: provider.describe(resource.resource_id).state is ResourceState.RUNNING)


# Its log


def test_following_brings_what_is_printed_later_and_every_line_once(tmp_path: Path) -> None:
    command = "for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.3; done; exec sleep 60"
    with RunPodEmulator(engine="stub") as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = launched(provider, entrypoint=("sh",), command=("-c", command))
        eventually(lambda: next(provider.logs(resource.resource_id), "") == "line 1")
        lines = list(islice(provider.logs(resource.resource_id, tail=1, follow=True), 4))
        provider.terminate(resource.resource_id)
    first = int(lines[0].removeprefix("line "))
    assert lines == [f"line {first + n}" for n in range(4)]


def test_following_without_the_past_brings_only_what_comes(tmp_path: Path) -> None:
    command = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 0.3; done; exec sleep 60"
    with RunPodEmulator(engine="stub") as cloud:
        provider = provider_at(cloud, tmp_path)
        resource = launched(provider, entrypoint=("sh",), command=("-c", command))
        eventually(lambda: "line 3" in provider.logs(resource.resource_id))
        first = next(iter(provider.logs(resource.resource_id, tail=0, follow=True)))
        provider.terminate(resource.resource_id)
    assert int(first.removeprefix("line ")) > 3


def test_following_a_pod_that_goes_ends_with_its_last_words(tmp_path: Path) -> None:
    def stream(*lines: int, stay_s: float = 0.0) -> Reply:
        said = [json.dumps({"ts": f"2026-11-21T12:00:0{n}Z", "source": "container", "line": f"{n}"}) for n in lines]
        text = "".join(f"data: {line}\n\n" for line in said)
        return Reply(200, text, {"Content-Type": "text/event-stream"}, stay_s=stay_s)

    with ScriptedServer(stream(1), stream(1, stay_s=30), problem(404, "pod not found"), stream(1, 2)) as cloud:
        environ = {"RUNPOD_API_KEY": "rpa_TEST", "GPU_RUNPOD_API_URL": f"{cloud.url}/v2", POLL_VARIABLE: "0.5"}
        provider = RunPodProvider(ProviderContext(tmp_path, environ))
        assert list(provider.logs("p1", follow=True)) == ["1", "2"]


# What is ours


def test_somebodys_pod_is_not_touched_whatever_its_name(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    by_hand(cloud, name="gpu-of-somebody", env={"GPU_LABEL_RECIPE": "llama"})
    by_hand(cloud, name="my-pod", env={"GPU_RESOURCE": "gpu-test-1"})
    assert provider.list_resources() == []
    assert provider.find("gpu-of-somebody") is None
    assert provider.find("my-pod") is None
    assert provider.find("gpu-test-1") is None


def test_our_pod_is_found_by_its_name_although_its_environment_is_not_shown(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    made = launched(provider)
    by_hand(cloud, name="gpu-of-somebody")
    cloud.misbehave({"do": "missing-fields", "fields": ["env"], "call": "list"})
    found = provider.find("gpu-test-1")
    assert found is not None
    assert found.resource_id == made.resource_id
    assert provider.list_resources() == [], "without its environment nothing proves that a pod is ours"


def test_a_pod_without_its_id_is_no_answer_and_never_seems_gone(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    pod_id = launched(provider).resource_id
    cloud.misbehave({"do": "missing-fields", "fields": ["id"]})
    for ask in (lambda: provider.find("gpu-test-1"), lambda: provider.describe(pod_id), provider.list_resources):
        with pytest.raises(ProviderUnavailable, match=r"without its id|not about"):
            ask()


def test_a_name_is_found_whole_or_not_at_all(provider: RunPodProvider) -> None:
    launched(provider, "gpu-test-10")
    assert provider.find("gpu-test-1") is None


def test_of_two_pods_with_one_name_the_newer_is_found_first(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    older = launched(provider)
    cloud.clock.advance(2)
    newer = launched(provider)
    found = provider.find("gpu-test-1")
    assert found is not None
    assert found.resource_id == newer.resource_id
    provider.terminate(newer.resource_id)
    left = provider.find("gpu-test-1")
    assert left is not None
    assert left.resource_id == older.resource_id


def test_a_list_that_lags_is_why_a_name_is_looked_for_once_more(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "list-lag", "seconds": 1.5})
    launched(provider)
    assert provider.find("gpu-test-1") is None
    eventually(lambda: provider.find("gpu-test-1") is not None, timeout_s=30.0)
    assert RunPodProvider(ProviderContext(Path("/nowhere"), {})).list_lag_s == 30.0


# Its end


def test_a_terminated_pod_is_gone_and_bills_no_more(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    resource = launched(provider)
    provider.terminate(resource.resource_id)
    with pytest.raises(NotFound):
        provider.describe(resource.resource_id)
    assert [entry["alive"] for entry in cloud.bill()["resources"]] == [False]


def test_a_locked_pod_is_unlocked_and_ended(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "delete-locked"})
    resource = launched(provider)
    headers = {"Authorization": f"Bearer {cloud.key}"}
    url = f"{cloud.url}/v2/pods/{resource.resource_id}"
    httpx.patch(url, json={"locked": True}, headers=headers).raise_for_status()
    provider.terminate(resource.resource_id)
    assert len(cloud.pods) == 0


def test_a_delete_that_answers_500_and_works_has_worked(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "delete-500-works", "times": 1})
    provider.terminate(launched(provider).resource_id)
    assert len(cloud.pods) == 0


def test_a_delete_that_only_says_that_it_worked_is_seen_through(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    cloud.misbehave({"do": "delete-204-stays", "times": 1})
    resource = launched(provider)
    provider.terminate(resource.resource_id)
    assert provider.describe(resource.resource_id).name == "gpu-test-1"
    provider.terminate(resource.resource_id)
    with pytest.raises(NotFound):
        provider.describe(resource.resource_id)


def test_a_pod_can_end_itself_with_what_runpod_puts_into_its_environment(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    resource = launched(provider)
    (pod,) = cloud.pods
    environ = pod.environ()
    how = provider.self_destruction({})
    assert how is not None
    headers = {name: value.format(**environ) for name, value in how.headers.items()} | {"User-Agent": how.user_agent}
    ended = httpx.request(how.method, how.url.format(**environ), headers=headers)
    checked = httpx.request(how.check_method, how.check_url.format(**environ), headers=headers)
    assert ended.status_code == 204
    assert checked.status_code in how.gone
    assert set(how.credential_variables) == {"RUNPOD_API_KEY"}
    with pytest.raises(NotFound):
        provider.describe(resource.resource_id)


# The account


def test_what_the_account_has_left_is_told_where_runpod_tells_it(
    provider: RunPodProvider, cloud: RunPodEmulator
) -> None:
    assert provider.balance_usd() == pytest.approx(100.0, abs=0.1)
    cloud.misbehave({"do": "server-error", "call": "account"})
    assert provider.balance_usd() is None


def test_only_a_serverless_endpoint_is_asked_with_the_accounts_key(
    provider: RunPodProvider, cloud: RunPodEmulator, tmp_path: Path
) -> None:
    assert provider.edge_key(Kind.POD, "gpu-a") is None
    assert provider.edge_key(Kind.SERVERLESS, "gpu-a") == Secret(cloud.key)
    with pytest.raises(AuthError):
        provider_at(cloud, tmp_path, RUNPOD_API_KEY="").edge_key(Kind.SERVERLESS, "gpu-a")


def test_the_limits_of_the_edge_are_known(provider: RunPodProvider) -> None:
    assert provider.first_byte_limit_s(Kind.POD) == 100
    assert provider.first_byte_limit_s(Kind.SERVERLESS) == 330
    assert provider.first_byte_limit_s(Kind.VM) is None


# gpu doctor


def lines_of_the_doctor(provider: RunPodProvider) -> list[tuple[str, bool, str]]:
    return [(check.subject, check.ok, check.message) for check in provider.check()]


def test_the_doctor_says_where_the_key_is_from_and_what_is_left(provider: RunPodProvider) -> None:
    assert lines_of_the_doctor(provider) == [
        ("runpod key", True, "RUNPOD_API_KEY: accepted"),
        ("runpod balance", True, "100.00 USD left"),
    ]


def test_the_doctor_knows_the_file_of_runpods_own_tools(cloud: RunPodEmulator, tmp_path: Path) -> None:
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod" / "config.toml").write_text(f'apikey = "{cloud.key}"\n')
    provider = provider_at(cloud, tmp_path, RUNPOD_API_KEY="", HOME=str(tmp_path))
    assert lines_of_the_doctor(provider)[0] == ("runpod key", True, "~/.runpod/config.toml: accepted")


def test_a_cloud_that_is_not_used_is_no_trouble(cloud: RunPodEmulator, tmp_path: Path) -> None:
    (check,) = provider_at(cloud, tmp_path, RUNPOD_API_KEY="", HOME=str(tmp_path)).check()
    assert (check.ok, check.message) == (True, "there is no API key for RunPod: it is not used")
    assert "https://www.runpod.io/console/user/settings" in check.hint


def test_a_key_that_runpod_refuses_is_trouble(cloud: RunPodEmulator, tmp_path: Path) -> None:
    (check,) = provider_at(cloud, tmp_path, RUNPOD_API_KEY="rpa_WRONG").check()
    assert not check.ok
    assert "401" in check.message
    assert "RUNPOD_API_KEY" in check.hint
    assert "rpa_WRONG" not in repr(check)


def test_a_file_of_keys_that_cannot_be_read_is_trouble(cloud: RunPodEmulator, tmp_path: Path) -> None:
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod" / "config.toml").write_text("apikey = ")
    (check,) = provider_at(cloud, tmp_path, RUNPOD_API_KEY="", HOME=str(tmp_path)).check()
    assert not check.ok


def test_a_blocked_edge_is_not_mistaken_for_a_bad_key(provider: RunPodProvider, cloud: RunPodEmulator) -> None:
    cloud.misbehave({"do": "edge-block"})
    (check,) = provider.check()
    assert not check.ok
    assert "blocked" in check.message


def test_an_account_without_money_is_trouble(tmp_path: Path) -> None:
    with RunPodEmulator(balance_usd=0.0) as cloud:
        checks = {check.subject: check for check in provider_at(cloud, tmp_path).check()}
    assert not checks["runpod balance"].ok
    assert "credit" in checks["runpod balance"].hint
