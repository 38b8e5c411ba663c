"""A rented machine from its order to its end: RunPod's emulator with the real vLLM in its pods.

The pods get the weights as rented machines do, by Hugging Face's own client library, from a hub on loopback.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from driver import Gpu, Ran
from emulators.container_spec import State
from emulators.runpod import RunPodEmulator
from emulators.runpod.pods import Pod
from loopback_hub import hub_with
from served import QUESTION, RECIPE, ask, bring_up, client_of, wait_calmly

pytestmark = pytest.mark.engine

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
IDLE_S = 15.0
"""More than any test here takes that does not ask the model."""
LATE_S = 20.0
"""The guard looks every two seconds or so, on a machine that has other things to do."""
TOO_LONG = {
    "model": MODEL,
    "context": 100_000,
    "concurrency": 1,
    "gpu": {"names": ["L4"]},
    "engine": {
        "args": ["--enforce-eager"],
        # The KV cache has room for 46,592 tokens; vLLM shall not find out before that the model was made for 8192.
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"},
    },
}


@pytest.fixture(scope="module")
def cloud(weights: Path) -> Iterator[RunPodEmulator]:
    """The cloud and a hub, with the program pointed at them."""
    with (
        hub_with(MODEL, weights) as hub,
        RunPodEmulator(engine="vllm") as cloud,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**cloud.env, "GPU_RUNPOD_POLL_S": "0.5", "HF_ENDPOINT": hub}.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture(scope="module")
def up(gpu: Gpu, cloud: RunPodEmulator) -> Ran:
    return bring_up(gpu, "--provider", "runpod", "--idle", f"{IDLE_S:.0f}s")


@pytest.fixture
def pod(up: Ran, cloud: RunPodEmulator) -> Pod:
    """The one that was rented first."""
    return pods(cloud)[0]


@pytest.fixture
def client(gpu: Gpu, up: Ran) -> Iterator[openai.OpenAI]:
    with client_of(gpu) as client:
        yield client


def pods(cloud: RunPodEmulator) -> Sequence[Pod]:
    """All that were ever rented, the first one first."""
    found = [cloud.pods.on_record(resource["id"]) for resource in cloud.bill()["resources"]]
    return [pod for pod in found if pod]


def billed(cloud: RunPodEmulator, pod: Pod) -> dict[str, Any]:
    """Its line of the cloud's own bill."""
    return next(resource for resource in cloud.bill()["resources"] if resource["id"] == pod.id)


def keys_of_deletes(cloud: RunPodEmulator, pod: Pod) -> set[str]:
    """Of those who have asked for its end."""
    return {one.bearer for one in cloud.requests if (one.method, one.path) == ("DELETE", f"/v2/pods/{pod.id}")}


def test_up_prints_the_base_url_of_the_cheapest_pod_that_fits(gpu: Gpu, up: Ran, pod: Pod) -> None:
    (deployment,) = gpu.ls()
    assert up.stdout.strip() == deployment["base_url"]
    assert (deployment["state"], deployment["provider"], deployment["kind"]) == ("ready", "runpod", "pod")
    assert (deployment["resource_id"], deployment["region"]) == (pod.id, pod.data_center)
    assert deployment["price_usd_per_hour"] == pytest.approx(pod.usd_per_hour, abs=1e-5)
    offers = gpu("offers", "--provider", "runpod", "--json").json["offers"]
    assert deployment["gpu"] == offers[0]["gpu"]


def test_the_model_answers_through_the_proxy(client: openai.OpenAI) -> None:
    assert "Paris" in ask(client)


def test_both_the_supervisor_in_the_pod_and_the_guard_will_end_it(gpu: Gpu, up: Ran) -> None:
    (deployment,) = gpu.ls()
    assert all(stop["armed"] for stop in deployment["stops"])
    assert {(stop["kind"], stop["by"]) for stop in deployment["stops"]} == {
        (kind, by) for kind in ("idle", "deadline") for by in ("supervisor", "guard")
    }
    assert {stop["after_s"] for stop in deployment["stops"] if stop["kind"] == "idle"} == {IDLE_S}


def test_an_answer_is_streamed_through_the_proxy_as_it_is_written(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=64, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    times = [time.monotonic() for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(times) > 16
    assert times[-1] - times[0] > 0.1  # in one piece they would all be there at once


def test_logs_are_those_of_the_pod_and_have_no_key(gpu: Gpu, client: openai.OpenAI, pod: Pod) -> None:
    log = gpu("logs").stdout
    assert f"[weights] hf://{MODEL}: downloading" in log
    assert f"[weights] hf://{MODEL}: done" in log
    assert "Resolved architecture: LlamaForCausalLM" in log
    assert "[supervisor] ready" in log
    assert client.api_key not in log
    assert pod.key not in log


def test_nobody_gets_in_without_the_deployments_own_key(client: openai.OpenAI, cloud: RunPodEmulator, pod: Pod) -> None:
    for key in ("sk-wrong", cloud.key, pod.key):
        with pytest.raises(openai.AuthenticationError):
            ask(client.with_options(api_key=key))


def test_an_idle_pod_ends_itself_with_its_own_key_and_the_bill_with_it(
    gpu: Gpu, client: openai.OpenAI, cloud: RunPodEmulator, pod: Pod
) -> None:
    ask(client)
    last_request_at = time.monotonic()
    wait_calmly(lambda: not billed(cloud, pod)["alive"])
    assert IDLE_S <= time.monotonic() - last_request_at <= IDLE_S + LATE_S
    assert keys_of_deletes(cloud, pod) == {pod.key}
    wait_calmly(lambda: gpu.ls()[0]["state"] == "gone")
    (deployment,) = gpu.ls()
    assert deployment["reason"] == "idle"
    missed_usd = pod.usd_per_hour * LATE_S / 3600
    assert 0 <= deployment["spent_usd"] - billed(cloud, pod)["usd"] + 1e-6 <= missed_usd
    wait_calmly(lambda: pod.container and pod.container.state() is State.REMOVED)
    with pytest.raises(openai.NotFoundError):
        ask(client)


def test_a_start_that_the_engine_refuses_is_diagnosed_from_the_pods_log_and_billed_no_longer(
    gpu: Gpu, cloud: RunPodEmulator, tmp_path: Path
) -> None:
    before = len(pods(cloud))
    recipe = tmp_path / "too-long.yaml"
    recipe.write_text(yaml.safe_dump(TOO_LONG))
    up = gpu("up", str(recipe), "--provider", "runpod", "--json")
    assert up.exit == 6, up.stderr
    assert up.error["code"] == "context-too-long"
    assert "a context of 100000 tokens does not fit into the KV cache" in up.error["message"]
    assert "max seq len (100000)" in Path(up.error["hint"].rpartition("log: ")[2]).read_text()
    (pod,) = pods(cloud)[before:]  # no other host was paid for the same failure
    assert not billed(cloud, pod)["alive"]
    failed = gpu.ls()[0]
    assert (failed["name"], failed["state"]) == ("too-long", "failed")
    assert failed["reason"].startswith("context-too-long")
    wait_calmly(lambda: pod.container and pod.container.state() is State.REMOVED)
