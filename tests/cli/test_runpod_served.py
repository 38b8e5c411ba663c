"""A pod at RunPod that is up: what was ordered, who can reach it, and what the commands say of it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from driver import Gpu, Ran
from emulators.runpod import RunPodEmulator
from rented import Kept, asked, created, point_at, supervisor_of, up

HF_TOKEN = "hf_a-token-of-the-user"
ROUTES = ("v1/models", "v1/completions", "health", "metrics", "docs", "openapi.json", "invocations", "tokenize", "")


@dataclass(frozen=True)
class Served:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: RunPodEmulator
    up: Ran

    @property
    def body(self) -> Any:
        """Of the create that made it."""
        (body,) = created(self.cloud)
        return body

    @property
    def url(self) -> str:
        """Of the engine, with a slash at the end."""
        return str(self.up.json["base_url"]).removesuffix("v1")

    @property
    def key(self) -> dict[str, str]:
        """The header that opens it."""
        return {"Authorization": f"Bearer {self.up.json['api_key']}"}


@pytest.fixture
def served(kept: Kept, rented: RunPodEmulator, rentable: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Served:
    """Up and ready."""
    point_at(rented, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    kept.up = kept.up or up(kept.gpu, rentable("L4"), "--show-key")
    assert kept.up.exit == 0, kept.up.stderr
    return Served(kept.gpu, rented, kept.up)


def test_the_order_says_whatever_has_a_default_that_would_be_wrong(served: Served) -> None:
    body = served.body
    assert body["gpu"] == {"id": "NVIDIA L4", "count": 1, "minCudaVersion": "13.0"}
    assert (body["cloud"], body["ports"]) == ("SECURE", ["8000/http"])
    assert body["disk"] >= 20
    assert body["image"] == "vllm/vllm-openai:v0.32.0"
    assert re.fullmatch(r"gpu-tiny-[0-9a-f]{6,}", body["name"])


def test_our_own_supervisor_runs_in_the_stock_image(served: Served) -> None:
    assert served.body["entrypoint"] == ["python3"]
    config = supervisor_of(served.body)
    assert "vllm.entrypoints.openai.api_server" in config["engine"]
    assert config["destroy"]["method"] == "DELETE"
    assert config["destroy"]["url"] == f"{served.cloud.url}/v2/pods/{{RUNPOD_POD_ID}}"
    assert config["idle_s"] == 60


def test_without_a_word_in_the_recipe_only_the_secure_cloud_is_asked_for_hosts_that_run_the_engine(
    served: Served,
) -> None:
    asked_for = [request.query for request in asked(served.cloud, "GET", "catalog/gpus")]
    assert {(query["cloud"], query["minCudaVersion"], query["product"]) for query in asked_for} == {
        ("SECURE", "13.0", "POD")
    }
    assert {"1", "2"} <= {query["count"] for query in asked_for}


def test_every_request_to_the_cloud_says_who_we_are(served: Served) -> None:
    api = [request for request in served.cloud.requests if request.path.startswith(("/v2/", "/graphql"))]
    assert {request.headers["user-agent"].partition("/")[0] for request in api} == {"gpu-cli"}


def test_secrets_are_environment_and_nothing_else(served: Served) -> None:
    body, key = served.body, served.up.json["api_key"]
    env = body.pop("env")
    assert (env["VLLM_API_KEY"], env["HF_TOKEN"]) == (key, HF_TOKEN)
    holders = {name for name, value in env.items() if key in value or HF_TOKEN in value}
    assert holders == {"VLLM_API_KEY", "HF_TOKEN"}
    assert served.cloud.key not in json.dumps(env)
    assert not [secret for secret in (key, HF_TOKEN, served.cloud.key) if secret in json.dumps(body)]
    (pod,) = served.cloud.pods
    log = "\n".join(line.line for line in pod.container.log.lines())
    assert not [secret for secret in (key, HF_TOKEN, pod.key) if secret in log]


@pytest.mark.parametrize("route", [*ROUTES, "_gpu/supervisor"])
def test_no_route_of_the_endpoint_answers_without_its_key(served: Served, web: httpx.Client, route: str) -> None:
    url = f"{served.url}{route}"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {served.cloud.key}"}):
        assert web.get(url, headers=headers).status_code == 401
        assert web.post(url, headers=headers, json={}).status_code == 401


def test_the_endpoint_is_behind_the_clouds_proxy_and_works_with_its_key(served: Served, web: httpx.Client) -> None:
    pod_id = served.up.json["resource_id"]
    assert served.url == f"{served.cloud.url}/proxy/{pod_id}/8000/"
    assert web.get(f"{served.url}v1/models", headers=served.key).json()["data"][0]["id"] == "tiny"
    request = {"model": "tiny", "messages": [{"role": "user", "content": "Where?"}], "max_tokens": 2}
    answer = web.post(f"{served.url}v1/chat/completions", headers=served.key, json=request)
    assert answer.json()["choices"][0]["message"]["content"]


def test_env_has_the_address_and_the_key(served: Served) -> None:
    exported = served.gpu("env", "tiny").stdout
    assert f"{served.url}v1" in exported
    assert served.up.json["api_key"] in exported


def test_ls_says_what_it_is_what_it_costs_and_what_ends_it(served: Served) -> None:
    (pod,) = served.cloud.pods
    (listed,) = served.gpu.ls()
    assert (listed["state"], listed["provider"], listed["kind"], listed["gpu"]) == ("ready", "runpod", "pod", "L4")
    assert listed["price_usd_per_hour"] == pod.usd_per_hour
    assert listed["region"] == pod.data_center
    assert {(stop["kind"], stop["by"], stop["armed"]) for stop in listed["stops"]} == {
        (kind, by, True) for kind in ("idle", "deadline") for by in ("supervisor", "guard")
    }


def test_up_again_is_the_same_and_orders_nothing(served: Served, rentable: Callable[..., str]) -> None:
    again = up(served.gpu, rentable("L4"))
    assert again.exit == 0, again.stderr
    assert again.json["resource_id"] == served.up.json["resource_id"]
    assert len(created(served.cloud)) == 1


def test_the_log_is_that_of_the_container(served: Served) -> None:
    whole = served.gpu("logs", "tiny").stdout.splitlines()
    assert whole[0].startswith("[supervisor] armed")
    assert "INFO:     Application startup complete." in whole
    assert len(served.gpu("logs", "tiny", "--tail", "3").stdout.splitlines()) == 3
    assert served.gpu("logs", "tiny", "--tail", "0").stdout == ""


def test_the_limit_of_the_proxy_is_told_where_it_can_bite(served: Served) -> None:
    assert "no byte of an answer for 100 s" in served.up.stderr


def test_down_ends_the_log_that_is_followed_the_pod_and_the_bill(served: Served) -> None:
    following = served.gpu.start("logs", "tiny", "-f")
    assert following.process.stdout
    assert following.process.stdout.readline().startswith("[supervisor] armed")
    down = served.gpu("down", "--json")
    assert down.exit == 0, down.stderr
    followed = following.result()
    assert followed.exit == 0, followed.stderr
    assert list(served.cloud.pods) == []
    assert not [line for line in served.cloud.bill()["resources"] if line["alive"]]
    (ended,) = down.json["ended"]
    assert ended["spent_usd"] == pytest.approx(served.cloud.bill()["usd"], abs=0.002)
