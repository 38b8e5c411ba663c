"""An endpoint at Modal from its order to its end: the emulated cloud, Modal's own client and runtime, the real vLLM.

Containers come with the requests and go without them. No start of vLLM is over before the edge has sent whoever waits
for it on to the answer. The tests are one story, told in their order: it is awake, asleep, awake again, and gone.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from driver import Gpu, Ran, command_of, is_alive
from emulators import process_tree
from emulators.modal_cloud import ModalEmulator, rates
from emulators.modal_cloud.edge import RESULT
from loopback_hub import hub_with
from served import QUESTION, RECIPE, ROUTES, ask, bring_up, left_of, wait_calmly

from gpu_cli.fleet.reach.engine_client import EngineClient
from gpu_providers.base import Secret

pytestmark = pytest.mark.engine

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
REDIRECT_AFTER_S = 10.0
"""Clients follow twenty redirects, so that a start may take 200 s."""
IDLE_S = 12.0
"""More than any test here takes that does not ask the model, as long as it is awake."""
LATE_S = 30.0
"""What is seen by looking at it from time to time, on a machine that has other things to do, may be seen so late."""
LONG = 8000
"""Tokens of an answer that nobody has the patience to read to its end."""


@pytest.fixture(scope="module")
def cloud(weights: Path) -> Iterator[ModalEmulator]:
    """The cloud and a hub, with the program pointed at them."""
    with (
        hub_with(MODEL, weights) as hub,
        ModalEmulator(engine="vllm", redirect_after_s=REDIRECT_AFTER_S) as cloud,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**cloud.env, "GPU_MODAL_POLL_S": "0.5", "HF_ENDPOINT": hub}.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture(scope="module")
def up(gpu: Gpu, cloud: ModalEmulator) -> Ran:
    return bring_up(gpu, "--provider", "modal", "--idle", f"{IDLE_S:.0f}s", "--json", "--show-key")


@pytest.fixture(scope="module")
def base_url(up: Ran) -> str:
    return str(up.json["base_url"])


@pytest.fixture(scope="module")
def key(up: Ran) -> str:
    """The only one that passes Modal's edge; the engine has none."""
    return str(up.json["api_key"])


@pytest.fixture
def client(base_url: str, key: str) -> Iterator[openai.OpenAI]:
    """As people have it, but for the repetitions."""
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


def redirected(cloud: ModalEmulator) -> int:
    """How many requests came because the edge had sent somebody on to their answer."""
    return sum(RESULT in request for request in [*cloud.edge.asked])


def processes(cloud: ModalEmulator) -> list[psutil.Process]:
    """Of the only container."""
    (container,) = cloud.live_containers()
    return list(process_tree.members(container.folder))


def still_billed(cloud: ModalEmulator) -> list[str]:
    """Names of what still costs, or would: the app itself costs nothing."""
    return [str(line["name"]) for line in cloud.bill()["resources"] if line["alive"]]


def model_file(cloud: ModalEmulator) -> Path:
    """Of the model that is on the volume."""
    with cloud.lock:
        (folder,) = (volume.folder for volume in cloud.volumes if volume.name == "gpu-models")
    (file,) = folder.glob(f"huggingface/hub/models--{MODEL.replace('/', '--')}/snapshots/*/model.safetensors")
    return file


def test_up_follows_the_edge_until_vllm_answers(gpu: Gpu, up: Ran, cloud: ModalEmulator, base_url: str) -> None:
    (deployment,) = gpu.ls()
    assert (deployment["state"], deployment["provider"], deployment["kind"]) == ("ready", "modal", "serverless")
    assert (deployment["base_url"], deployment["workers"]) == (base_url, "1 container running")
    assert redirected(cloud) > 0
    assert len(cloud.containers_so_far) == 1


def test_chat_has_an_answer(gpu: Gpu, up: Ran) -> None:
    chat = gpu("chat", "-m", QUESTION)
    assert chat.exit == 0, chat.stderr
    assert "Paris" in chat.stdout


def test_an_answer_is_streamed_through_modals_runtime_as_it_is_written(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=64, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    times = [time.monotonic() for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(times) > 16
    assert times[-1] - times[0] > 0.1  # in one piece they would all be there at once


def test_the_engine_stops_writing_for_whoever_hangs_up(client: openai.OpenAI, base_url: str, key: str) -> None:
    stream = client.completions.create(
        model=RECIPE, prompt=QUESTION, max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
    )
    next(stream)
    stream.close()
    with EngineClient(base_url.removesuffix("/v1"), Secret(key), timeout_s=60) as engine:
        wait_calmly(lambda: engine.work().running == 0)
        assert engine.work().done < LONG


def test_without_requests_its_container_goes_with_all_that_ran_there_and_bills_no_longer(
    client: openai.OpenAI, cloud: ModalEmulator
) -> None:
    assert "Paris" in ask(client)
    last_request_at, ran = time.monotonic(), processes(cloud)
    assert [process for process in ran if "vllm.entrypoints" in command_of(process)]
    wait_calmly(lambda: not cloud.live_containers())
    assert IDLE_S - 1 <= time.monotonic() - last_request_at <= IDLE_S + LATE_S
    assert not [process for process in ran if is_alive(process)]
    assert still_billed(cloud) == cloud.apps_deployed()


def test_to_look_at_it_wakes_nothing(gpu: Gpu, cloud: ModalEmulator, key: str) -> None:
    bill_usd, requests = cloud.bill()["usd"], [*cloud.edge.asked]
    (deployment,) = gpu.ls()
    assert (deployment["state"], deployment["workers"]) == ("ready", "no containers")
    log = gpu("logs").stdout
    assert "gpu: engine starts" in log
    assert "Resolved architecture: LlamaForCausalLM" in log
    assert not [secret for secret in (key, key.partition(".")[2], cloud.account.token_secret) if secret in log]
    assert cloud.edge.asked == requests
    assert cloud.bill()["usd"] == bill_usd > 0


def test_what_was_ordered_is_what_the_plan_says(gpu: Gpu, cloud: ModalEmulator) -> None:
    plan = gpu("plan", RECIPE, "--provider", "modal", "--json").json["candidates"][0]
    (request,) = cloud.functions_created
    function, card = request.function, request.function.resources.gpu_config
    assert (card.gpu_type, card.count) == (plan["gpu"], plan["gpu_count"])
    assert rates.container_usd_per_hour(function, card) == pytest.approx(plan["price_usd_per_hour"])
    scaling = function.autoscaler_settings
    assert (scaling.min_containers, scaling.max_containers, scaling.scaledown_window) == (0, 1, IDLE_S)
    assert 0 < function.target_concurrent_inputs <= plan["max_concurrency"]
    with cloud.lock:
        command = json.loads(cloud.secret_store.environment(function.secret_ids)["GPU_COMMAND"])
    assert command[:3] == ["vllm", "serve", MODEL]
    assert " ".join(plan["engine_args"]) in " ".join(command)


def test_a_stranger_is_refused_and_starts_nothing(cloud: ModalEmulator, base_url: str, key: str) -> None:
    id_, before = key.partition(".")[0], len(cloud.containers_so_far)
    of_the_account = f"{cloud.account.token_id}.{cloud.account.token_secret}"
    bearers = [{"Authorization": f"Bearer {word}"} for word in ("sk-wrong", f"{id_}.ws-wrong", of_the_account)]
    with httpx.Client(base_url=base_url.removesuffix("/v1"), timeout=60) as stranger:
        for method, path, body in ROUTES:
            for headers in ({}, *bearers):
                assert stranger.request(method, path, json=body, headers=headers).status_code == 401, path
    assert len(cloud.containers_so_far) == before


def test_a_request_wakes_it_and_is_answered_and_the_weights_are_not_fetched_again(
    client: openai.OpenAI, cloud: ModalEmulator
) -> None:
    hops, containers, fetched = redirected(cloud), len(cloud.containers_so_far), model_file(cloud).stat()
    assert "Paris" in ask(client)
    assert redirected(cloud) > hops
    assert len(cloud.containers_so_far) == containers + 1
    assert model_file(cloud).stat().st_mtime == fetched.st_mtime


def test_down_leaves_nothing_but_the_volumes(
    gpu: Gpu, cloud: ModalEmulator, base_url: str, key: str, weights: Path
) -> None:
    ran = processes(cloud)
    down = gpu("down")
    assert down.exit == 0, down.stderr
    state = cloud.state()
    assert (state["apps"], state["proxy_tokens"], cloud.live_containers()) == ([], [], [])
    assert still_billed(cloud) == []
    assert not [process for process in ran if is_alive(process)]
    assert left_of(gpu) == []
    assert list((gpu.home / "state" / "providers" / "modal" / "tokens").glob("gpu-*")) == []
    assert httpx.get(f"{base_url}/models", headers={"Authorization": f"Bearer {key}"}).status_code == 404
    assert state["volumes"] == ["gpu-models", "gpu-cache"]
    assert model_file(cloud).stat().st_size == (weights / "model.safetensors").stat().st_size


def test_it_has_cost_what_its_containers_did(gpu: Gpu, cloud: ModalEmulator) -> None:
    (deployment,) = gpu.ls()
    assert (deployment["state"], deployment["reason"]) == ("gone", "gpu down")
    late_s = (deployment["spent_usd"] - cloud.bill()["usd"]) / deployment["price_usd_per_hour"] * 3600
    assert abs(late_s) <= LATE_S
