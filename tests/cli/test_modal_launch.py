"""`gpu up` at Modal: what is ordered of whom, what it prints, and what is kept of it."""

import json
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from driver import Gpu, Ran, command_of
from emulators.modal_cloud import ModalEmulator
from rented import Kept, point_at
from rented_at_modal import assert_nothing_is_left, environment, gpus, kept_here, ordered, tokens, up, volumes

Rentable = Callable[..., str]
HF_TOKEN = "hf_a-token-of-the-user"
NO_CARD = {"do": "no-capacity"}
"""None is ever free, so that an order is all that there is of it."""


@dataclass(frozen=True)
class Served:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: ModalEmulator
    launched: Ran
    """With `--no-wait`."""
    awaited: Ran
    """`gpu wait`."""
    again: Ran
    """`gpu up`, of what is up."""

    @property
    def base_url(self) -> str:
        return str(self.again.json["base_url"])


@pytest.fixture(scope="module")
def workspace() -> Iterator[ModalEmulator]:
    """With an edge of little patience."""
    with ModalEmulator(engine="stub", redirect_after_s=0.5) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def runs() -> dict[str, Ran]:
    """The commands that brought it up."""
    return {}


@pytest.fixture
def served(
    workspace: ModalEmulator,
    kept: Kept,
    runs: dict[str, Ran],
    rentable: Rentable,
    monkeypatch: pytest.MonkeyPatch,
) -> Served:
    """Up and ready: ordered by one command, awaited by another."""
    point_at(workspace, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    if not runs:
        limits = {"idle": "10m", "ttl": "1h", "start_deadline": "2m"}
        recipe = rentable("H100", context=8192, cache={"modal": "weights"}, limits=limits)
        runs["launched"] = kept.gpu("up", recipe, "--provider", "modal", "--no-wait")
        runs["awaited"] = kept.gpu("wait", "tiny")
        runs["again"] = up(kept.gpu, recipe, "--show-key")
    assert [ran.exit for ran in runs.values()] == [0, 0, 0], [ran.stderr for ran in runs.values()]
    return Served(kept.gpu, workspace, **runs)


def resources(function: Any) -> tuple[str, int, int, int]:
    """The card, how many, cores in thousandths, memory in MiB."""
    got = function.resources
    return got.gpu_config.gpu_type, got.gpu_config.count, got.milli_cpu, got.memory_mb


def scaling(function: Any) -> tuple[int, int, int]:
    """The least and most containers, and how long one is kept that has no request."""
    got = function.autoscaler_settings
    return got.min_containers, got.max_containers, got.scaledown_window


def command(env: Mapping[str, str]) -> list[str]:
    words: list[str] = json.loads(env["GPU_COMMAND"])
    return words


def test_a_dry_run_orders_nothing_and_says_what_it_would(
    at_modal: ModalEmulator, kept: Kept, rentable: Rentable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    ran = kept.gpu("up", rentable("H100"), "--provider", "modal", "--dry-run")
    assert (ran.exit, ran.stdout) == (0, ""), ran.stderr
    assert "modal-1xH100" in ran.stderr
    assert "$4.40" in ran.stderr
    assert at_modal.functions_created == []
    assert_nothing_is_left(at_modal, kept.gpu)


def test_stdout_is_the_base_url_and_nothing_else_awaited_or_not_and_a_second_up_orders_nothing(served: Served) -> None:
    assert served.base_url.endswith("/v1")
    assert served.launched.stdout == served.awaited.stdout == f"{served.base_url}\n"
    assert gpus(served.cloud) == ["H100!:1"]
    (listed,) = served.gpu.ls()
    assert (listed["state"], listed["kind"], listed["gpu"]) == ("ready", "serverless", "H100")
    assert listed["resource_id"] == served.again.json["resource_id"]
    stops = {(stop["kind"], stop["by"], stop["armed"]) for stop in listed["stops"]}
    assert stops == {("idle", "native", True), ("deadline", "guard", True)}


def test_what_arrives_has_the_card_the_timeouts_the_concurrency_and_the_scaling_of_the_plan(served: Served) -> None:
    function = ordered(served.cloud).function
    assert resources(function) == ("H100!", 1, 4000, 32 * 1024)
    assert scaling(function) == (0, 1, 600)
    assert (function.startup_timeout_secs, function.timeout_secs) == (120, 3600)
    webhook = function.webhook_config
    assert (webhook.web_server_port, webhook.web_server_startup_timeout) == (8000, 120)
    assert webhook.requires_proxy_auth
    assert function.target_concurrent_inputs == 16
    assert function.max_concurrent_inputs >= 16
    assert [*function.scheduler_placement.regions] == []
    assert function.module_name == "modal_entry"
    mounts = {mount.mount_path: mount.allow_background_commits for mount in function.volume_mounts}
    assert mounts == {"/models": True, "/cache": True}
    assert volumes(served.cloud) == ["weights", "gpu-cache"]


def test_the_engine_has_its_flags_and_the_volumes_but_no_key_of_its_own(served: Served) -> None:
    env = environment(served.cloud)
    words = command(env)
    assert words[:3] == ["vllm", "serve", "HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert words[words.index("--max-model-len") + 1] == "8192"
    assert (env["HF_HOME"], env["VLLM_CACHE_ROOT"]) == ("/models/huggingface", "/cache/vllm")
    assert env["HF_TOKEN"] == HF_TOKEN
    assert "VLLM_API_KEY" not in env
    assert not any("api-key" in word for word in words)


def test_the_key_is_the_proxy_token_which_is_a_file_of_this_user_alone(served: Served) -> None:
    (file,) = kept_here(served.gpu)
    assert [file.name] == served.cloud.apps_deployed() == tokens(served.cloud)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text()
    assert served.again.json["api_key"] == token
    shown = served.gpu("env", "tiny").stdout.splitlines()
    assert f"export OPENAI_API_KEY={token}" in shown
    assert f"export OPENAI_BASE_URL={served.base_url}" in shown


def test_no_secret_is_in_a_command_line_an_output_a_log_or_the_record(served: Served) -> None:
    runs = [served.launched, served.awaited, served.gpu("logs")]
    commands = " ".join(map(command_of, psutil.process_iter()))
    assert "modal._container_entrypoint" in commands
    token_id, _, token_secret = str(served.again.json["api_key"]).partition(".")
    secrets = {"tokens": token_secret, "account": served.cloud.account.token_secret, "hub": HF_TOKEN}
    assert token_id.startswith("wk-")
    files = [path for path in served.gpu.home.rglob("*") if path.is_file()]
    for name, secret in secrets.items():
        assert secret not in commands, name
        assert not [run for run in runs if secret in run.stdout + run.stderr], name
        places = {path.parent.name for path in files if secret.encode() in path.read_bytes()}
        assert places == ({name} if name == "tokens" else set()), name


def test_several_cards_are_one_container_with_whatever_the_recipe_says_of_modal(
    served: Served, rentable: Rentable
) -> None:
    served.cloud.misbehave(NO_CARD)
    recipe = rentable(
        gpu={"names": ["H100"], "count": 2},
        limits={"idle": "20m", "start_deadline": "2h"},
        concurrency=8,
        providers={"modal": {"region": ["us-east", "eu-west"], "cpu": 12, "memory_gib": 96, "max_containers": 3}},
    )
    launched = up(served.gpu, recipe, "--no-wait", "--name", "several")
    assert launched.exit == 0, launched.stderr
    function = ordered(served.cloud).function
    assert resources(function) == ("H100!", 2, 12000, 96 * 1024)
    assert scaling(function) == (0, 3, 1200)
    assert 7190 <= function.startup_timeout_secs <= 7200
    assert function.timeout_secs == function.webhook_config.web_server_startup_timeout == function.startup_timeout_secs
    assert function.target_concurrent_inputs == 8
    assert [*function.scheduler_placement.regions] == ["us-east", "eu-west"]
    words = command(environment(served.cloud))
    assert words[words.index("--pipeline-parallel-size") + 1] == "2", "9 heads cannot be split in two"
    assert volumes(served.cloud) == ["weights", "gpu-cache", "gpu-models"]
    usd = (2 * 3.95 + 12 * 0.0473 + 96 * 0.008) * 1.75
    assert launched.json["price_usd_per_hour"] == pytest.approx(usd, abs=0.001)


def test_whoever_names_a_highest_price_gets_the_next_cards_within_it_in_their_order(
    served: Served, rentable: Rentable
) -> None:
    recipe = rentable("B200", "H200", "A100-80GB", "H100")
    launched = up(served.gpu, recipe, "--no-wait", "--name", "choosy", "--max-price", "5.5")
    assert launched.exit == 0, launched.stderr
    assert gpus(served.cloud)[-1] == "A100-80GB:1 H100!:1 H200:1"
    assert "may run on H100 at $4.40/h or H200 at $4.99/h where there is no A100-80GB" in launched.stderr
    assert launched.json["price_usd_per_hour"] == pytest.approx(4.9852, abs=0.001)


def test_down_leaves_the_volumes_and_nothing_else(served: Served) -> None:
    down = served.gpu("down", "--all")
    assert (down.exit, down.stdout) == (0, ""), down.stderr
    assert_nothing_is_left(served.cloud, served.gpu)
    assert volumes(served.cloud) == ["weights", "gpu-cache", "gpu-models"]
