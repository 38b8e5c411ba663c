"""A serverless endpoint at RunPod: what is ordered, who can reach it, what it costs, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from driver import Gpu, Ran, wait_until
from emulators.runpod import RunPodEmulator
from emulators.runpod.endpoints import Endpoint
from rented import Kept, asked, point_at, up

IDLE_S = 2


@dataclass(frozen=True)
class OnDemand:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: RunPodEmulator
    up: Ran

    @property
    def endpoint(self) -> Endpoint:
        """As the cloud has it."""
        (endpoint,) = self.cloud.endpoints
        return endpoint


@pytest.fixture
def served(
    kept: Kept, rented: RunPodEmulator, rentable: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> OnDemand:
    """Up and ready."""
    point_at(rented, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    kept.up = kept.up or up(kept.gpu, rentable("L4"), "--serverless", "--idle", f"{IDLE_S}s", "--show-key")
    assert kept.up.exit == 0, kept.up.stderr
    return OnDemand(kept.gpu, rented, kept.up)


def test_the_order_says_whatever_has_a_default_that_would_be_wrong(served: OnDemand) -> None:
    (request,) = asked(served.cloud, "POST", "serverless")
    body = request.json()
    assert (body["type"], body["scaling"]["type"]) == ("LOAD_BALANCER", "REQUEST_COUNT")
    assert body["workers"] == {"min": 0, "max": 1, "idleTimeout": IDLE_S}
    assert (body["timeout"], body["flashboot"]) == (600_000, "FLASHBOOT")
    assert body["ports"] == ["8000/http"]
    assert (body["env"]["PORT"], body["env"]["PORT_HEALTH"]) == ("8000", "8000")
    assert (body["gpu"]["count"], body["gpu"]["minCudaVersion"]) == (1, "13.0")
    assert body["disk"] >= 20
    assert (body["image"], "entrypoint" in body) == ("vllm/vllm-openai:v0.32.0", False)
    assert body["args"].startswith("HuggingFaceTB/SmolLM2-135M-Instruct --port 8000 ")
    assert "VLLM_API_KEY" not in body["env"]
    assert served.cloud.key not in request.body.decode()
    assert request.headers["user-agent"].startswith("gpu-cli/")


def test_the_edge_lets_the_accounts_key_in_and_nobody_else_and_that_is_the_key_of_env(
    served: OnDemand, web: httpx.Client
) -> None:
    models, key = f"{served.up.json['base_url']}/models", served.cloud.key
    assert models == f"{served.cloud.url}/lb/{served.endpoint.id}/v1/models"
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert web.get(models, headers=headers).status_code == 401
    assert served.up.json["api_key"] == key
    assert key in served.gpu("env", "tiny").stdout
    files = [path for path in served.gpu.home.rglob("*") if path.is_file()]
    assert not [path for path in files if key.encode() in path.read_bytes()]


def test_ls_says_who_ends_its_workers_and_who_ends_it(served: OnDemand) -> None:
    (listed,) = served.gpu.ls()
    assert (listed["state"], listed["kind"], listed["gpu"]) == ("ready", "serverless", "L4")
    stops = {(stop["kind"], stop["by"], stop["armed"]) for stop in listed["stops"]}
    assert stops == {("idle", "native", True), ("deadline", "guard", True)}


def test_without_requests_its_workers_go_and_nothing_is_billed_until_it_is_asked_again(served: OnDemand) -> None:
    wait_until(lambda: not served.endpoint.workers)
    bill_usd = served.cloud.bill()["usd"]
    assert served.gpu.state_of("tiny") == "ready"
    assert (served.cloud.bill()["usd"], served.endpoint.workers) == (bill_usd, {})
    chat = served.gpu("chat", "tiny", "-m", "hello")
    assert (chat.exit, chat.stdout) == (0, "Paris Paris Paris Paris \n"), chat.stderr
    assert "no worker is up: waking one" in chat.stderr
    assert served.cloud.bill()["usd"] > bill_usd


def test_another_machine_finds_it_by_the_name_that_the_cloud_knows(
    served: OnDemand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = served.gpu("gc", "--dry-run", "--json", env={"GPU_HOME": str(tmp_path)})
    assert [one["resource_name"] for one in listed.json["left"]] == [served.endpoint.name]


def test_down_deletes_it_and_it_cost_what_its_workers_cost(served: OnDemand) -> None:
    down = served.gpu("down", "--json")
    assert down.exit == 0, down.stderr
    assert list(served.cloud.endpoints) == []
    bill = served.cloud.bill()
    assert not [line for line in bill["resources"] if line["alive"]]
    (ended,) = down.json["ended"]
    late_s = (ended["spent_usd"] - bill["usd"]) / ended["price_usd_per_hour"] * 3600
    assert abs(late_s) < 15
