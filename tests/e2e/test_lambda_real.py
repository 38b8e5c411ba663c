"""A whole machine from its order to its end: Lambda's emulator, the real sshd on its machine, the real vLLM behind it.

Users talk to a port of loopback, from which the guard's tunnel leads to the engine. The tests are one story, told in
their order.
"""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from driver import Gpu, Ran, is_alive
from emulators.container_spec import State
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.instances import Instance
from loopback_hub import hub_with
from served import QUESTION, RECIPE, ROUTES, ask, bring_up, is_free, left_of, listens, port_of, wait_calmly

pytestmark = pytest.mark.engine

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
IDLE_S = 15.0
"""More than any test here takes that does not ask the model."""
LATE_S = 30.0
"""The guard looks every two seconds or so, and logs in to the machine; which has other things to do."""
STREAMS, TOKENS = 64, 8


@pytest.fixture(scope="module")
def cloud(weights: Path) -> Iterator[LambdaEmulator]:
    """The cloud and a hub, with the program pointed at them."""
    with hub_with(MODEL, weights) as hub, LambdaEmulator(engine="vllm") as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in {**cloud.env, "GPU_LAMBDA_POLL_S": "0.5", "HF_ENDPOINT": hub}.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture(scope="module")
def up(gpu: Gpu, cloud: LambdaEmulator) -> Ran:
    return bring_up(gpu, "--provider", "lambda", "--ttl", "1h", "--idle", f"{IDLE_S:.0f}s")


@pytest.fixture(scope="module")
def instance(up: Ran, cloud: LambdaEmulator) -> Instance:
    """The one that was launched."""
    (instance,) = cloud.instances
    return instance


@pytest.fixture(scope="module")
def base_url(up: Ran) -> str:
    return up.stdout.strip()


@pytest.fixture(scope="module")
def key(gpu: Gpu, up: Ran) -> str:
    """The deployment's own."""
    return str(gpu("env", "--json").json["OPENAI_API_KEY"])


@pytest.fixture
def client(base_url: str, key: str) -> Iterator[openai.OpenAI]:
    """With no connection of an earlier test."""
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def deployment(gpu: Gpu, up: Ran) -> Any:
    """As `gpu ls` tells it at first."""
    (deployment,) = gpu.ls()
    return deployment


def tunnel_of(gpu: Gpu) -> psutil.Process:
    """The `ssh` of the only deployment."""
    (tunnel,) = gpu.processes("ssh -F none")
    return tunnel


def folder_of(tunnel: psutil.Process) -> Path:
    """Where the socket is at which it listens."""
    (path,) = {connection.laddr for connection in tunnel.net_connections("unix") if connection.laddr}
    return Path(path).parent


def kept_here(gpu: Gpu) -> list[str]:
    """The names of what is kept of machines, apart from the record: a key, and how to log in."""
    state = gpu.home / "state"
    return [path.name for kept in ("keys", "providers/lambda/machines") for path in (state / kept).iterdir()]


def billed(cloud: LambdaEmulator) -> dict[str, Any]:
    """The only line of the cloud's own bill."""
    (line,) = cloud.bill()["resources"]
    assert isinstance(line, dict)
    return line


def answers_at(address: str, port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(5)
        return caller.connect_ex((address, port)) == 0


async def stream_all(base_url: str, key: str) -> list[list[str]]:
    """The lines of as many answers, none of which is read before all of them have begun."""
    all_have_begun = asyncio.Barrier(STREAMS)

    async def stream(client: httpx.AsyncClient, number: int) -> list[str]:
        question = {"model": RECIPE, "prompt": f"{number} {QUESTION}", "max_tokens": TOKENS, "ignore_eos": True}
        told = {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}
        async with client.stream("POST", "/completions", json={**question, **told}) as answer:
            assert answer.status_code == 200
            await all_have_begun.wait()
            return [line async for line in answer.aiter_lines() if line]

    headers, limits = {"Authorization": f"Bearer {key}"}, httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(base_url=base_url, headers=headers, limits=limits, timeout=60) as client:
        return await asyncio.gather(*(stream(client, number) for number in range(STREAMS)))


def test_up_prints_a_base_url_on_loopback(gpu: Gpu, up: Ran, deployment: Any, instance: Instance) -> None:
    assert up.stdout == f"{deployment['base_url']}\n"
    assert up.stdout == f"http://127.0.0.1:{port_of(up.stdout)}/v1\n"
    assert (deployment["state"], deployment["provider"], deployment["kind"]) == ("ready", "lambda", "vm")
    assert deployment["resource_id"] == instance.id
    assert deployment["price_usd_per_hour"] == pytest.approx(instance.cents_per_hour / 100)
    assert set(kept_here(gpu)) == {instance.name}


def test_of_the_machine_only_its_ssh_server_can_be_reached(cloud: LambdaEmulator, instance: Instance) -> None:
    assert answers_at(instance.machine.address, cloud.ssh_port)
    assert not answers_at(instance.machine.address, 8000)


def test_the_guard_will_end_it_because_the_machine_has_no_key_to_end_itself(
    cloud: LambdaEmulator, instance: Instance, deployment: Any
) -> None:
    armed = {(stop["kind"], stop["by"]) for stop in deployment["stops"] if stop["armed"]}
    assert armed == {("idle", "guard"), ("deadline", "guard")}
    files = [path for path in cloud.home(instance.id).rglob("*") if path.is_file()]
    assert files
    told = [*(path.read_text(errors="replace") for path in files), *cloud.container(instance.id).spec.env.values()]
    assert not [text for text in (*told, cloud.order(instance.id).user_data) if cloud.key in text]


def test_an_answer_is_streamed_through_the_tunnel_as_it_is_written(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=64, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    times = [time.monotonic() for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(times) > 16
    assert times[-1] - times[0] > 0.1  # in one piece they would all be there at once


def test_no_route_is_open_without_the_deployments_own_key(cloud: LambdaEmulator, base_url: str, key: str) -> None:
    def status(method: str, path: str, body: object, headers: dict[str, str]) -> int:
        return engine.request(method, path, json=body, headers=headers).status_code

    with httpx.Client(base_url=base_url.removesuffix("/v1"), timeout=60) as engine:
        for method, path, body in ROUTES:
            assert status(method, path, body, {"Authorization": f"Bearer {key}"}) == 200, path
            assert status(method, path, body, {}) == 401, path
            for other in ("sk-wrong", cloud.key):
                assert status(method, path, body, {"Authorization": f"Bearer {other}"}) == 401, path


def test_64_streams_at_once_lose_nothing(base_url: str, key: str) -> None:
    ids = set()
    for lines in asyncio.run(stream_all(base_url, key)):
        assert lines[-1] == "data: [DONE]"
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        choices = [choice for event in events for choice in event["choices"]]
        assert sum(len(choice["token_ids"]) for choice in choices) == TOKENS
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
        assert events[-1]["usage"]["completion_tokens"] == TOKENS
        (id_of_all,) = {event["id"] for event in events}
        ids.add(id_of_all)
    assert len(ids) == STREAMS


def test_base_url_works_again_by_itself_when_the_connection_to_the_machine_breaks(
    gpu: Gpu, client: openai.OpenAI, cloud: LambdaEmulator, instance: Instance
) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=4000, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    next(stream)
    broken = tunnel_of(gpu)
    cloud.drop_ssh(instance.id)
    with pytest.raises(openai.APIConnectionError, match="Connection error"):
        list(stream)
    wait_calmly(lambda: not is_alive(broken))
    assert "Paris" in ask(client.with_options(max_retries=2))  # as clients are by default
    assert tunnel_of(gpu) != broken


def test_the_tunnel_ends_with_a_killed_guard_and_the_next_one_is_back_at_the_same_port(
    gpu: Gpu, client: openai.OpenAI, base_url: str
) -> None:
    gpu.kill_guard()
    wait_calmly(lambda: not listens(port_of(base_url)))
    wait_calmly(lambda: gpu.processes() == [])
    assert gpu("url").stdout.strip() == base_url
    assert "Paris" in ask(client)


def test_logs_are_those_of_the_machine_and_have_no_secret(
    gpu: Gpu, cloud: LambdaEmulator, instance: Instance, key: str
) -> None:
    log = gpu("logs").stdout
    assert f"[weights] hf://{MODEL}: done" in log
    assert "Resolved architecture: LlamaForCausalLM" in log
    assert "[supervisor] ready" in log
    assert not [secret for secret in (key, cloud.key, "PRIVATE KEY") if secret in log]


def test_the_guard_alone_ends_an_idle_machine_and_the_bill_with_it(
    gpu: Gpu, client: openai.OpenAI, cloud: LambdaEmulator, instance: Instance
) -> None:
    container = cloud.container(instance.id)
    ask(client)
    last_request_at = time.monotonic()
    tunnel = tunnel_of(gpu)
    assert left_of(gpu) == [tunnel]
    folder = folder_of(tunnel)
    assert folder.is_dir()
    wait_calmly(lambda: not billed(cloud)["alive"])
    assert IDLE_S <= time.monotonic() - last_request_at <= IDLE_S + LATE_S
    path = "/api/v1/instance-operations/terminate"
    (terminate, *_) = [one for one in cloud.requests if one.path == path]
    assert (terminate.bearer, terminate.json()) == (cloud.key, {"instance_ids": [instance.id]})
    wait_calmly(lambda: gpu.ls()[0]["state"] == "gone")
    (deployment,) = gpu.ls()
    assert deployment["reason"] == "idle"
    usd_per_s = deployment["price_usd_per_hour"] / 3600
    assert -60 * usd_per_s <= deployment["spent_usd"] - billed(cloud)["usd"] <= LATE_S * usd_per_s  # by the minute
    wait_calmly(lambda: container.state() is State.REMOVED)
    wait_calmly(lambda: not folder.exists())


def test_nothing_is_left_of_it(gpu: Gpu, cloud: LambdaEmulator, instance: Instance, base_url: str) -> None:
    wait_calmly(lambda: left_of(gpu) == [])
    wait_calmly(lambda: is_free(port_of(base_url)))
    assert list(cloud.instances) == []
    assert not answers_at(instance.machine.address, cloud.ssh_port)
    assert kept_here(gpu) == []
