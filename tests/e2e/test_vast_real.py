"""A machine of a market from its order to its end: Vast.ai's emulator with the real vLLM in its instance.

The engine serves TLS with its deployment's own certificate, and the guard forwards to it from loopback. The tests are
one story, told in their order.
"""

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from driver import COMMAND, Gpu, Ran
from emulators.container_spec import State
from emulators.vast import VastEmulator
from emulators.vast.instances import Instance
from loopback_hub import hub_with
from served import QUESTION, RECIPE, ROUTES, ask, bring_up, is_free, left_of, listens, port_of, wait_calmly
from tls_engine import TlsEngine

from gpu_cli.fleet.certificates import Certificates, pinned_context

pytestmark = pytest.mark.engine

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
IDLE_S = 15.0
"""More than any test here takes that does not ask the model."""
LATE_S = 20.0
"""The guard looks every two seconds or so, on a machine that has other things to do."""
A_PROGRAM = """
import os, openai
answer = openai.OpenAI().chat.completions.create(
    model=os.environ["OPENAI_MODEL"], messages=[{"role": "user", "content": %r}], max_tokens=20, temperature=0
)
print(answer.choices[0].message.content)
"""


@pytest.fixture(scope="module")
def cloud(weights: Path) -> Iterator[VastEmulator]:
    """The cloud and a hub, with the program pointed at them."""
    with hub_with(MODEL, weights) as hub, VastEmulator(engine="vllm") as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in {**cloud.env, "GPU_VAST_POLL_S": "0.5", "HF_ENDPOINT": hub}.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture(scope="module")
def up(gpu: Gpu, cloud: VastEmulator) -> Ran:
    return bring_up(gpu, "--provider", "vast", "--idle", f"{IDLE_S:.0f}s")


@pytest.fixture
def instance(up: Ran, cloud: VastEmulator) -> Instance:
    """The one that was rented."""
    (instance,) = cloud.instances.on_record()
    return instance


@pytest.fixture
def host_port(instance: Instance) -> int:
    """The bare port of its machine."""
    return instance.host_ports["8000/tcp"]


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
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def deployment(gpu: Gpu, up: Ran) -> Any:
    """As `gpu ls` tells it at first."""
    (deployment,) = gpu.ls()
    return deployment


def said_to(port: int, data: bytes) -> bytes:
    """All that is answered there until the other side hangs up."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(data)
        try:
            while piece := caller.recv(4096):
                answer += piece
        except ConnectionError:
            pass
    return answer


def billed(cloud: VastEmulator) -> dict[str, Any]:
    """The only line of the cloud's own bill."""
    (line,) = cloud.bill()["resources"]
    assert isinstance(line, dict)
    return line


def test_up_prints_a_base_url_on_loopback_that_is_not_the_machines_port(
    up: Ran, deployment: Any, instance: Instance, host_port: int
) -> None:
    assert up.stdout == f"{deployment['base_url']}\n"
    assert up.stdout == f"http://127.0.0.1:{port_of(up.stdout)}/v1\n"
    assert port_of(up.stdout) != host_port
    assert (deployment["state"], deployment["provider"], deployment["kind"]) == ("ready", "vast", "pod")
    assert (deployment["resource_id"], deployment["gpu"]) == (str(instance.id), "RTX-A4000")
    usd_per_hour = instance.terms.base_usd + instance.terms.disk_usd
    assert deployment["price_usd_per_hour"] == pytest.approx(usd_per_hour, abs=1e-5)


def test_both_the_supervisor_in_the_instance_and_the_guard_will_end_it(deployment: Any) -> None:
    assert {(stop["kind"], stop["by"]) for stop in deployment["stops"] if stop["armed"]} == {
        (kind, by) for kind in ("idle", "deadline") for by in ("supervisor", "guard")
    }


def test_another_process_talks_to_it_with_what_gpu_env_prints(gpu: Gpu, up: Ran) -> None:
    script = f'eval "$({COMMAND[0]} env)" && exec {sys.executable} -c "$0"'
    ran = subprocess.run(
        ["sh", "-c", script, A_PROGRAM % QUESTION], cwd=gpu.cwd, capture_output=True, text=True, timeout=60
    )
    assert "Paris" in ran.stdout, ran.stderr


def test_an_answer_is_streamed_through_the_forwarder_as_it_is_written(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=RECIPE, messages=[{"role": "user", "content": QUESTION}], max_tokens=64, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    times = [time.monotonic() for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(times) > 16
    assert times[-1] - times[0] > 0.1  # in one piece they would all be there at once


def test_no_route_is_open_without_the_deployments_own_key(
    cloud: VastEmulator, instance: Instance, base_url: str, key: str
) -> None:
    def status(method: str, path: str, body: object, headers: dict[str, str]) -> int:
        return engine.request(method, path, json=body, headers=headers).status_code

    with httpx.Client(base_url=base_url.removesuffix("/v1"), timeout=60) as engine:
        for method, path, body in ROUTES:
            assert status(method, path, body, {"Authorization": f"Bearer {key}"}) == 200, path
            assert status(method, path, body, {}) == 401, path
            for other in ("sk-wrong", cloud.key, instance.key):
                assert status(method, path, body, {"Authorization": f"Bearer {other}"}) == 401, path


def test_what_leaves_this_machine_is_tls_with_the_deployments_own_certificate(
    gpu: Gpu, instance: Instance, host_port: int, key: str
) -> None:
    certificate = gpu.home / "state" / "certificates" / str(instance.label)
    assert not said_to(host_port, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP")
    assert ssl.get_server_certificate(("127.0.0.1", host_port)) == certificate.read_text()
    url, headers = f"https://127.0.0.1:{host_port}/health", {"Authorization": f"Bearer {key}"}
    assert httpx.get(url, headers=headers, verify=pinned_context(certificate)).status_code == 200


def test_a_man_in_the_middle_gets_no_request(
    gpu: Gpu, client: openai.OpenAI, cloud: VastEmulator, instance: Instance, tmp_path: Path
) -> None:
    of_the_same_name = Certificates(tmp_path).create(str(instance.label), time.time() + 3600)
    with TlsEngine(of_the_same_name) as man:
        cloud.redirect(instance.id, man.port)
        with pytest.raises(openai.InternalServerError, match="does not have the certificate"):
            ask(client)
        assert gpu.ls()[0]["state"] == "ready"  # what cannot be reached is not gone
    assert (man.met > 0, man.heard) == (True, b"")
    cloud.redirect(instance.id, instance.container.local_port)
    assert "Paris" in ask(client)


def test_the_forwarder_is_back_at_the_same_port_after_the_guard_was_killed(
    gpu: Gpu, client: openai.OpenAI, base_url: str
) -> None:
    gpu.kill_guard()
    assert not listens(port_of(base_url))
    assert gpu("url").stdout.strip() == base_url
    assert "Paris" in ask(client)


def test_logs_are_those_of_the_instance_and_have_no_secret(gpu: Gpu, instance: Instance, key: str) -> None:
    log = gpu("logs").stdout
    assert f"[weights] hf://{MODEL}: done" in log
    assert "Resolved architecture: LlamaForCausalLM" in log
    assert "[supervisor] ready" in log
    assert not [secret for secret in (key, instance.key, "PRIVATE KEY") if secret in log]


def test_an_idle_instance_ends_itself_with_its_own_key_and_the_bill_with_it(
    gpu: Gpu, client: openai.OpenAI, cloud: VastEmulator, instance: Instance
) -> None:
    container = instance.container
    ask(client)
    last_request_at = time.monotonic()
    wait_calmly(lambda: not billed(cloud)["alive"])
    assert IDLE_S <= time.monotonic() - last_request_at <= IDLE_S + LATE_S
    path = f"/api/v0/instances/{instance.id}/"
    assert {one.bearer for one in cloud.requests if (one.method, one.path) == ("DELETE", path)} == {instance.key}
    wait_calmly(lambda: gpu.ls()[0]["state"] == "gone")
    (deployment,) = gpu.ls()
    assert deployment["reason"] == "idle"
    missed_usd = deployment["price_usd_per_hour"] * LATE_S / 3600
    assert 0 <= deployment["spent_usd"] - billed(cloud)["usd"] + 1e-6 <= missed_usd
    wait_calmly(lambda: container and container.state() is State.REMOVED)


def test_nothing_is_left_of_it(gpu: Gpu, cloud: VastEmulator, base_url: str) -> None:
    wait_calmly(lambda: is_free(port_of(base_url)))
    assert list(cloud.instances) == []
    assert left_of(gpu) == []
    assert [file for kept in ("keys", "certificates") for file in (gpu.home / "state" / kept).iterdir()] == []
