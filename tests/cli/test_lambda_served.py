"""A machine at Lambda that is up: what was ordered, who can reach it, and what the commands say of it."""

import json
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from driver import Gpu, Ran, command_of, wait_until
from emulators.containers import Container
from emulators.lambda_cloud import LambdaEmulator
from emulators.lambda_cloud.instance_json import as_json
from rented import Kept, asked, billed, point_at, supervisor_of
from rented_at_lambda import kept_here, launches, living, terminations, up

HF_TOKEN = "hf_a-token-of-the-user"
STREAMS = 64


@dataclass(frozen=True)
class Served:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: LambdaEmulator
    up: Ran

    @property
    def body(self) -> Any:
        """Of the launch that made it."""
        (body,) = launches(self.cloud)
        return body

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def base_url(self) -> str:
        return str(self.up.json["base_url"])

    @property
    def container(self) -> Container:
        """What runs on it."""
        return self.cloud.container(self.name)

    @property
    def folder(self) -> Path:
        """What this side knows of it."""
        (folder,) = kept_here(self.gpu)
        return folder

    @property
    def tunnels(self) -> list[psutil.Process]:
        """The processes that hold the way to it."""
        found = [process for process in psutil.process_iter() if str(self.gpu.home) in command_of(process)]
        return [process for process in found if process.name() == "ssh"]

    @property
    def private_keys(self) -> dict[str, str]:
        """A line of each: of the account's key to its machines, and of the machine's own host key."""
        (of_account,) = (self.gpu.home / "state").rglob("id_ed25519")
        of_host = self.body["user_data"].split("-----BEGIN OPENSSH PRIVATE KEY-----")[1].split()[1]
        return {"account": of_account.read_text().splitlines()[2], "host": of_host}

    @property
    def jupyter(self) -> dict[str, str]:
        """The keys to the JupyterLab that every machine of Lambda's has."""
        with self.cloud.lock:
            shown = as_json(self.cloud.instances.named(self.name), self.cloud.clock.now())
        return {name: shown[name] for name in ("jupyter_token", "jupyter_url")}


@pytest.fixture
def served(
    kept: Kept, datacenter: LambdaEmulator, rentable: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Served:
    """Up and ready, with a filesystem for its weights."""
    point_at(datacenter, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    if kept.up is None:
        made = kept.gpu("volume", "create", "weights", "--provider", "lambda", "--region", "us-south-3")
        assert made.exit == 0, made.stderr
        kept.up = up(kept.gpu, rentable("H100", cache={"lambda": "weights"}), "--show-key")
    assert kept.up.exit == 0, kept.up.stderr
    return Served(kept.gpu, datacenter, kept.up)


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    """That of every user, with what `gpu up` printed."""
    with openai.OpenAI(base_url=served.base_url, api_key=served.up.json["api_key"], max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI) -> str:
    """A short answer."""
    messages = [{"role": "user", "content": "Where?"}]
    answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=2)  # type: ignore[arg-type]
    return str(answer.choices[0].message.content)


def streamed(client: openai.OpenAI, words: int) -> str:
    """An answer of so many, as it comes."""
    chunks = client.completions.create(model="tiny", prompt="Where?", max_tokens=words, stream=True)
    return "".join(chunk.choices[0].text for chunk in chunks)


def test_the_order_is_one_machine_with_our_key_our_tags_and_nothing_secret_but_its_own_host_key(served: Served) -> None:
    body = served.body
    assert (body["instance_type_name"], body["image"]) == ("gpu_1x_h100_sxm5", {"family": "lambda-stack-24-04"})
    (registered,) = asked(served.cloud, "POST", "ssh-keys")
    assert body["ssh_key_names"] == [registered.json()["name"]]
    assert {"key": "gpu-cli:name", "value": "tiny"} in body["tags"]
    assert "firewall_rulesets" not in body
    for secret in (HF_TOKEN, served.up.json["api_key"], served.cloud.key, served.private_keys["account"]):
        assert secret not in json.dumps(body)


def test_the_filesystem_of_the_cache_decides_the_region_and_holds_the_weights(served: Served) -> None:
    assert served.body["region_name"] == served.up.json["region"] == "us-south-3"
    (mount,) = served.body["file_system_mounts"]
    with served.cloud.lock:
        weights = served.cloud.file_systems.named("weights")
    assert weights
    assert mount["file_system_id"] == weights.id
    weights_at = Path(served.container.spec.env["HF_HOME"])
    assert str(weights_at).endswith(f"{mount['mount_point']}/huggingface")
    assert weights_at.parent.resolve() == served.cloud.file_systems.folder(weights.id).resolve()


def test_our_own_supervisor_runs_in_the_stock_image_and_has_no_means_to_destroy(served: Served) -> None:
    spec = served.container.spec
    assert (spec.image, spec.restarts) == ("vllm/vllm-openai:v0.32.0", False)
    config = supervisor_of({"env": spec.env})
    assert (config["destroy"], config["idle_s"]) == (None, 60)
    assert served.cloud.key not in json.dumps(dict(spec.env))


def test_up_says_that_nothing_else_than_the_guard_here_ends_it_and_so_does_ls(served: Served) -> None:
    assert (
        "only the guard on this machine ends it: while this machine sleeps or is off, it bills on" in served.up.stderr
    )
    (listed,) = served.gpu.ls()
    assert (listed["state"], listed["provider"], listed["kind"], listed["gpu"]) == ("ready", "lambda", "vm", "H100")
    assert listed["price_usd_per_hour"] == 4.29
    hands = {(stop["kind"], stop["by"]) for stop in listed["stops"] if stop["armed"]}
    assert hands == {("idle", "guard"), ("deadline", "guard")}


def test_the_endpoint_is_on_loopback_and_the_engine_listens_on_the_machines_own(served: Served) -> None:
    base_url = httpx.URL(served.base_url)
    assert (base_url.scheme, base_url.host, base_url.path) == ("http", "127.0.0.1", "/v1")
    assert base_url.port != served.container.host_port
    with served.cloud.lock:
        address = served.cloud.instances.named(served.name).machine.address
    assert address not in served.up.stdout
    assert served.gpu("url", "tiny").stdout == f"{base_url}\n"
    assert f"export OPENAI_BASE_URL={base_url}\n" in served.gpu("env", "tiny").stdout


def test_the_openai_client_works_and_streams_through_the_tunnel(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert ask(client).startswith("Paris")
    assert set(streamed(client, 4).split()) == {"Paris"}


def test_of_many_streams_at_once_nothing_is_lost(client: openai.OpenAI) -> None:
    whole = streamed(client, 40)
    with ThreadPoolExecutor(STREAMS) as pool:
        answers = list(pool.map(lambda _: streamed(client, 40), range(STREAMS)))
    assert answers == [whole] * STREAMS
    assert len(whole.split()) == 40


def test_only_the_key_opens_it(served: Served, web: httpx.Client) -> None:
    for headers in ({}, {"Authorization": f"Bearer {served.cloud.key}"}):
        assert web.get(f"{served.base_url}/models", headers=headers).status_code == 401


def test_up_again_is_the_same_and_orders_nothing(served: Served, rentable: Callable[..., str]) -> None:
    again = up(served.gpu, rentable("H100", cache={"lambda": "weights"}))
    assert again.exit == 0, again.stderr
    assert (again.json["resource_id"], again.json["base_url"]) == (served.up.json["resource_id"], served.base_url)
    assert len(launches(served.cloud)) == 1


def test_the_log_is_of_the_set_up_and_then_of_the_container(served: Served) -> None:
    whole = served.gpu("logs", "tiny").stdout.splitlines()
    assert whole[0].startswith("[set-up] ")
    assert whole.index("[set-up] starting the container") < whole.index("INFO:     Application startup complete.")
    assert served.gpu("logs", "tiny", "-n", "3").stdout.count("\n") == 3


def test_a_command_on_the_machine_has_its_exit_status_and_its_folder_there(served: Served) -> None:
    there = served.gpu("ssh", "tiny", "--", "sudo -n docker ps --format '{{.Names}}'; ls .gpu-machine; exit 3")
    assert there.exit == 3, there.stderr
    assert there.stdout.split()[0] == "gpu-engine"
    assert not {"parcel.json", "container.env"} & set(there.stdout.split())


def test_what_is_known_here_of_the_machine_is_for_this_user_alone_and_what_it_runs_no_longer_part_of_it(
    served: Served,
) -> None:
    assert {"machine.json", "known_hosts"} <= {path.name for path in served.folder.iterdir()}
    assert not (served.folder / "parcel.json").exists()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in served.folder.iterdir()}
    assert (modes, stat.S_IMODE(served.folder.stat().st_mode)) == ({0o600}, 0o700)
    assert (
        served.body["user_data"].split("ed25519_public: ")[1].split()[1] in (served.folder / "known_hosts").read_text()
    )


def test_no_secret_is_in_a_command_line_an_output_a_log_or_the_record(served: Served) -> None:
    runs = [served.up, *(served.gpu(*command.split()) for command in ("ls --json", "logs", "doctor"))]
    commands = " ".join(map(command_of, [*psutil.process_iter()]))
    assert served.tunnels
    assert "supervisor" in commands
    secrets = {"cloud": served.cloud.key, "hub": HF_TOKEN, "endpoint": str(served.up.json["api_key"])}
    secrets |= {**served.private_keys, **served.jupyter}
    for name, secret in secrets.items():
        assert secret not in commands, name
        assert not [run for run in runs if secret in run.stderr], name
        assert not [run for run in runs[1:] if secret in run.stdout], name
        places = {path.parent.name if name == "endpoint" else path.name for path in files_with(served.gpu.home, secret)}
        assert places == {"endpoint": {"keys"}, "account": {"id_ed25519"}}.get(name, set()), name


def test_a_connection_that_breaks_is_made_again_by_itself_at_the_same_port(
    served: Served, client: openai.OpenAI
) -> None:
    (before,) = served.tunnels
    served.cloud.drop_ssh(served.name)
    assert ask(client.with_options(max_retries=8)).startswith("Paris")  # what was on its way when it broke is lost
    wait_until(lambda: [tunnel.pid for tunnel in served.tunnels] not in ([], [before.pid]))
    assert len(served.tunnels) == 1


def test_when_the_guard_was_killed_the_next_command_brings_the_same_port_back_with_one_tunnel(
    served: Served, client: openai.OpenAI
) -> None:
    served.gpu.kill_guard()
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
    wait_until(lambda: not served.tunnels)
    assert served.gpu("url", "tiny").stdout == f"{served.base_url}\n"
    assert ask(client).startswith("Paris")
    assert len(served.tunnels) == 1


def test_when_somebody_else_answers_in_its_place_they_hear_nothing_and_the_client_is_told_why(
    served: Served, client: openai.OpenAI
) -> None:
    served.cloud.change_host_key(served.name)
    served.cloud.drop_ssh(served.name)
    log = served.gpu.home / "state" / "logs" / "guard.log"
    wait_until(lambda: "does not have the host key" in log.read_text())
    with pytest.raises(openai.InternalServerError, match="does not have the host key of gpu-tiny-") as refused:
        ask(client)
    assert (refused.value.status_code, "nothing was sent to it" in str(refused.value)) == (502, True)
    assert living(served.cloud) == [served.up.json["resource_id"]]
    assert served.gpu.state_of("tiny") == "ready"


def test_down_ends_the_bill_and_forgets_the_machine_and_leaves_no_process(served: Served) -> None:
    down = served.gpu("down", "--json")
    assert down.exit == 0, down.stderr
    assert len(terminations(served.cloud)) == 1
    bill = billed(served.cloud, served.up.json["resource_id"])
    assert not bill["alive"]
    assert kept_here(served.gpu) == []
    wait_until(lambda: not served.tunnels)


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
