"""An instance at Vast.ai that is up: what was ordered, who can reach it, and what the commands say of it."""

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from driver import Gpu, Ran, command_of
from emulators.vast import VastEmulator
from emulators.vast.instances import Instance
from rented import Kept, asked, billed, point_at
from rented_at_vast import created, parcel, searches, up
from tls_engine import TlsEngine

from gpu_cli.fleet.certificates import Certificates

HF_TOKEN = "hf_a-token-of-the-user"
ROUTES = ("v1/models", "v1/completions", "health", "metrics", "docs", "openapi.json", "invocations", "tokenize", "")
LATE_S = 15.0
"""How much longer than the cloud's bill the record may be: it counts the boot, and the end when it is seen."""


@dataclass(frozen=True)
class Served:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: VastEmulator
    up: Ran

    @property
    def body(self) -> Any:
        """Of the create that made it."""
        (body,) = created(self.cloud)
        return body

    @property
    def instance(self) -> Instance:
        """As the cloud has it."""
        return self.cloud.instances.named(str(self.up.json["resource_id"]))

    @property
    def url(self) -> str:
        """Of the engine as this machine sees it, with a slash at the end."""
        return str(self.up.json["base_url"]).removesuffix("v1")

    @property
    def bare_port(self) -> int:
        """Of the machine that it is on."""
        return self.instance.host_ports["8000/tcp"]

    @property
    def key(self) -> dict[str, str]:
        """The header that opens it."""
        return {"Authorization": f"Bearer {self.up.json['api_key']}"}

    @property
    def secrets(self) -> dict[str, str]:
        """All that nobody else may see, of the private key a line."""
        private_key = parcel(self.body)[0]["GPU_TLS"].split("-----BEGIN PRIVATE KEY-----")[1].split("\n")[2]
        of_the_clouds = {"account": self.cloud.key, "instance": self.instance.key}
        return {**of_the_clouds, "hub": HF_TOKEN, "endpoint": str(self.up.json["api_key"]), "tls": private_key}


@pytest.fixture
def served(kept: Kept, market: VastEmulator, rentable: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Served:
    """Up and ready."""
    point_at(market, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    kept.up = kept.up or up(kept.gpu, rentable("H100"), "--show-key")
    assert kept.up.exit == 0, kept.up.stderr
    return Served(kept.gpu, market, kept.up)


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    """That of every user, with what `gpu up` printed."""
    document = served.up.json
    with openai.OpenAI(base_url=document["base_url"], api_key=document["api_key"], max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI) -> str:
    """A short answer."""
    messages = [{"role": "user", "content": "Where?"}]
    answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=2)  # type: ignore[arg-type]
    return str(answer.choices[0].message.content)


def test_the_environment_is_an_object_with_the_port_as_a_key_and_within_every_limit(served: Served) -> None:
    env = served.body["env"]
    assert env["-p 8000:8000"] == "1"
    assert all(isinstance(value, str) and not re.search(r"[\s'\"]", value) for value in env.values())
    assert max(len(name) + len(value) for name, value in env.items()) < 256
    assert sum(len(name) + 1 + len(value) for name, value in env.items()) < 32_768
    assert len(served.body["onstart"]) + sum(map(len, served.body["args"])) < 4000


def test_the_order_is_on_demand_and_for_nothing_stopped(served: Served) -> None:
    body = served.body
    assert "price" not in body
    assert (body["cancel_unavail"], body["target_state"], body["runtype"]) == (True, "running", "args")
    assert body["image"] == "vllm/vllm-openai:v0.32.0"
    assert re.fullmatch(r"gpu-tiny-[0-9a-f]{6,}", body["label"])
    assert body["disk"] >= 20


def test_our_own_supervisor_runs_in_the_stock_image_and_destroys_and_never_stops(served: Served) -> None:
    env, command = parcel(served.body)
    assert command[0] == "python3"
    (config,) = (json.loads(value) for value in env.values() if value.startswith('{"version"'))
    assert config["destroy"]["method"] == "DELETE"
    assert config["destroy"]["url"] == f"{served.cloud.url}/api/v0/instances/{{CONTAINER_ID}}/"
    assert config["idle_s"] == 60


def test_the_search_says_all_that_a_careful_person_would(served: Served) -> None:
    (query,) = searches(served.cloud)
    assert query["gpu_name"] == {"in": ["H100 SXM"]}
    assert query["cuda_max_good"] == {"gte": 13.0}
    assert query["allocated_storage"] == served.body["disk"]
    assert query["order"] == [["dph_total", "asc"]]


def test_the_instances_are_read_from_the_list_that_lives_and_never_from_the_dead_one(served: Served) -> None:
    assert served.gpu("gc", "--dry-run", "--json").json["left"] == []
    assert asked(served.cloud, "GET", "v1/instances/")
    assert asked(served.cloud, "GET", "v0/instances/") == [
        request for request in asked(served.cloud, "GET", "v0/instances/") if request.path != "/api/v0/instances/"
    ]


def test_every_request_to_the_cloud_says_who_we_are(served: Served) -> None:
    agents = {request.headers["user-agent"].partition("/")[0] for request in asked(served.cloud, "GET", "v0/")}
    assert agents == {"gpu-cli"}


def test_the_endpoint_is_on_loopback_though_the_cloud_puts_white_space_around_its_address(
    served: Served, web: httpx.Client
) -> None:
    key = {"Authorization": f"Bearer {served.cloud.key}"}
    shown = web.get(f"{served.cloud.url}/api/v0/instances/{served.instance.id}/", headers=key).json()["instances"]
    assert shown["public_ipaddr"] != shown["public_ipaddr"].strip()
    assert shown["ports"]["8000/tcp"][0]["HostPort"] == str(served.bare_port)
    base_url = httpx.URL(served.up.json["base_url"])
    assert (base_url.scheme, base_url.host, base_url.path) == ("http", "127.0.0.1", "/v1")
    assert base_url.port != served.bare_port
    assert served.up.stdout.count(str(served.bare_port)) == 0


def test_the_openai_client_works_through_the_forwarder(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert ask(client).startswith("Paris")


def test_the_openai_client_streams_through_the_forwarder(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Where?"}]
    chunks = client.chat.completions.create(model="tiny", messages=messages, max_tokens=4, stream=True)  # type: ignore
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) >= 4
    assert set("".join(pieces).split()) == {"Paris"}


@pytest.mark.parametrize("route", [*ROUTES, "_gpu/supervisor"])
def test_no_route_answers_without_its_key_neither_on_loopback_nor_on_the_bare_port(served: Served, route: str) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(trust_env=False, verify=trusting) as anybody:
        for root in (served.url, f"https://127.0.0.1:{served.bare_port}/"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {served.cloud.key}"}):
                assert anybody.get(f"{root}{route}", headers=headers).status_code == 401
                assert anybody.post(f"{root}{route}", headers=headers, json={}).status_code == 401


def test_nobody_speaks_plain_http_with_the_bare_port(served: Served, web: httpx.Client) -> None:
    with pytest.raises(httpx.HTTPError):
        web.get(f"http://127.0.0.1:{served.bare_port}/health", headers=served.key)


def test_other_processes_get_the_same_address_and_the_key(served: Served) -> None:
    base_url, key = served.up.json["base_url"], served.up.json["api_key"]
    assert served.gpu("url", "tiny").stdout == f"{base_url}\n"
    exported = served.gpu("env", "tiny").stdout.splitlines()
    assert exported == [
        f"export OPENAI_BASE_URL={base_url}",
        f"export OPENAI_API_KEY={key}",
        "export OPENAI_MODEL=tiny",
    ]
    chat = served.gpu("chat", "-m", "Where?")
    assert (chat.exit, set(chat.stdout.split())) == (0, {"Paris"}), chat.stderr


def test_ls_says_what_it_is_what_it_costs_and_what_ends_it(served: Served) -> None:
    (listed,) = served.gpu.ls()
    terms = served.instance.terms
    assert (listed["state"], listed["provider"], listed["kind"], listed["gpu"]) == ("ready", "vast", "pod", "H100")
    assert listed["price_usd_per_hour"] == pytest.approx(terms.base_usd + terms.disk_usd)
    assert terms.disk_gb == served.body["disk"]
    assert listed["region"] == terms.ask.machine.place
    assert {(stop["kind"], stop["by"], stop["armed"]) for stop in listed["stops"]} == {
        (kind, by, True) for kind in ("idle", "deadline") for by in ("supervisor", "guard")
    }


def test_up_again_is_the_same_and_orders_nothing(served: Served, rentable: Callable[..., str]) -> None:
    again = up(served.gpu, rentable("H100"))
    assert again.exit == 0, again.stderr
    assert [again.json[name] for name in ("resource_id", "base_url")] == [
        served.up.json[name] for name in ("resource_id", "base_url")
    ]
    assert len(created(served.cloud)) == 1


def test_the_log_is_that_of_the_container(served: Served) -> None:
    whole = served.gpu("logs", "tiny").stdout.splitlines()
    assert whole[0].startswith("[supervisor] armed")
    assert "INFO:     Application startup complete." in whole
    assert len(served.gpu("logs", "tiny", "--tail", "3").stdout.splitlines()) == 3


def test_a_log_is_fetched_without_the_key_from_where_it_was_uploaded(served: Served) -> None:
    fetched = [request for request in served.cloud.requests if request.path.startswith("/s3/")]
    assert fetched
    assert not any("authorization" in request.headers for request in fetched)


def test_no_secret_is_in_a_command_line_an_output_a_log_or_the_record(served: Served) -> None:
    runs = [served.gpu(*command.split()) for command in ("ls --json", "logs", "doctor")]
    running = [*served.gpu.processes(), *psutil.Process().children(recursive=True)]
    lines = " ".join(map(command_of, running))
    assert "supervisor" in lines
    log = "\n".join(line.line for line in served.instance.container.log.lines())  # type: ignore[union-attr]
    (key_file,) = (served.gpu.home / "state" / "keys").iterdir()
    for name, secret in served.secrets.items():
        assert secret not in lines, name
        assert secret not in log, name
        assert not [run for run in runs if secret in run.stdout + run.stderr], name
        assert secret not in served.up.stderr, name
        assert files_with(served.gpu.home, secret) == ([key_file] if name == "endpoint" else []), name
    assert served.cloud.key not in json.dumps(parcel(served.body))


def test_secrets_are_in_the_parcel_and_nowhere_else_in_the_order(served: Served) -> None:
    env, command = parcel(served.body)
    assert (env["VLLM_API_KEY"], env["HF_TOKEN"]) == (served.up.json["api_key"], HF_TOKEN)
    for name, secret in served.secrets.items():
        assert secret not in json.dumps(served.body), name
        assert secret not in " ".join(command), name


def test_the_engine_does_not_inherit_the_key_that_destroys_it(served: Served) -> None:
    of_this_test = psutil.Process().children(recursive=True)
    (engine,) = [process for process in of_this_test if "vllm.entrypoints" in command_of(process)]
    assert engine.environ()["CONTAINER_ID"] == str(served.instance.id)
    assert "CONTAINER_API_KEY" not in engine.environ()


@pytest.mark.parametrize("command", ["url", "env"])
def test_when_the_guard_was_killed_the_next_command_brings_the_same_port_back(
    served: Served, client: openai.OpenAI, command: str
) -> None:
    served.gpu.kill_guard()
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
    assert str(served.up.json["base_url"]) in served.gpu(command, "tiny").stdout
    assert ask(client).startswith("Paris")


def test_whoever_is_in_the_middle_hears_nothing_and_the_client_is_told_why(
    served: Served, client: openai.OpenAI, tmp_path: Path
) -> None:
    others = Certificates(tmp_path).create("gpu-tiny-1", time.time() + 3600)
    with TlsEngine(others) as middle:
        served.cloud.redirect(served.up.json["resource_id"], middle.port)
        with pytest.raises(openai.InternalServerError, match="does not have the certificate of gpu-tiny-") as refused:
            ask(client)
        chat = served.gpu("chat", "-m", "Where?")
        served.instance.redirected = None
    assert refused.value.status_code == 502
    assert (chat.exit, chat.stdout) != (0, ""), chat.stderr
    assert "certificate" in chat.stderr
    assert middle.met >= 2
    assert middle.heard == b""
    assert ask(client).startswith("Paris"), "it was not given up"


def test_down_destroys_and_never_stops_and_the_bill_is_what_it_says(served: Served) -> None:
    resource_id = served.up.json["resource_id"]
    following = served.gpu.start("logs", "tiny", "-f")
    assert following.process.stdout
    assert following.process.stdout.readline().startswith("[supervisor] armed")
    down = served.gpu("down", "--json")
    assert down.exit == 0, down.stderr
    followed = following.result()
    assert followed.exit == 0, followed.stderr
    assert [request.path for request in asked(served.cloud, "PUT", "v0/instances/")] == [
        request.path for request in served.cloud.requests if "/request_logs/" in request.path
    ]
    bill = billed(served.cloud, resource_id)
    assert not bill["alive"]
    (ended,) = down.json["ended"]
    late_s = (ended["spent_usd"] - bill["usd"]) / ended["price_usd_per_hour"] * 3600
    assert -0.1 <= late_s <= LATE_S


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
