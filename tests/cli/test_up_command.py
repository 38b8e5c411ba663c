"""`gpu up`, as scripts and people use it."""

import socket
import time
from pathlib import Path

import httpx
from conftest import WriteRecipe
from driver import Gpu, wait_until

DEPLOYMENT_KEYS = [
    "version", "name", "recipe", "state", "provider", "kind", "gpu", "gpu_count", "region", "resource_id", "base_url",
    "model", "price_usd_per_hour", "spent_usd", "created_at", "ready_at", "ended_at", "reason", "idle_seconds", "stops",
]  # fmt: skip


def test_up_prints_one_line_which_is_the_base_url_and_the_second_up_prints_it_again(gpu: Gpu, tiny: str) -> None:
    first = gpu("up", tiny)
    assert first.exit == 0, first.stderr
    (line,) = first.stdout.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("/v1")
    second = gpu("up", tiny)
    assert second.stdout == first.stdout
    assert len(gpu.engines()) == 1


def test_the_story_on_stderr_names_every_stage_what_ends_it_and_the_worst_cost(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = recipe(providers={"local": {"price_usd_per_hour": 0.5}}, limits={"idle": "1m", "ttl": "2h"})
    told = gpu("up", str(path)).stderr
    for stage in ("install", "weights", "healthy", "canary", "stops"):  # others may be over before anybody looks
        assert f"\n{stage} " in f"\n{told}"
    assert "ends after 1m idle (supervisor and guard)" in told
    assert "worst cost $1.00" in told
    assert "\x1b" not in told


def test_the_document_of_up_has_exactly_the_promised_keys_and_the_deployments_own_only_when_asked_for(
    gpu: Gpu, tiny: str
) -> None:
    up = gpu("up", tiny, "--json")
    assert list(up.json) == [*DEPLOYMENT_KEYS, "tried"]
    assert [(one["provider"], one["failure"], one["message"]) for one in up.json["tried"]] == [("local", None, "ready")]
    assert (up.json["name"], up.json["state"], up.json["kind"]) == ("tiny", "ready", "process")
    hands = {(stop["kind"], stop["by"], stop["armed"]) for stop in up.json["stops"]}
    assert hands == {(kind, by, True) for kind in ("idle", "deadline") for by in ("supervisor", "guard")}
    (listed,) = gpu.ls()
    assert list(listed) == DEPLOYMENT_KEYS[1:]

    document = gpu("up", tiny, "--json", "--show-key").json
    assert sorted(document) == sorted([*DEPLOYMENT_KEYS, "tried", "api_key"])
    assert document["tried"] == [], "it was used as it is"
    models = f"{document['base_url']}/models"
    assert httpx.get(models).status_code == 401
    assert httpx.get(models, headers={"Authorization": f"Bearer {document['api_key']}"}).status_code == 200


def test_a_failure_is_one_document_too(gpu: Gpu) -> None:
    up = gpu("up", "nothing-like-it", "--json")
    assert list(up.json) == ["version", "error"]
    assert list(up.error) == ["code", "exit", "message", "hint", "still_billing"]
    assert up.error["exit"] == up.exit == 2


def test_of_two_ups_at_once_one_launches_and_the_other_waits_and_prints_the_same(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = str(recipe(misbehaviour={"load_s": 1.5}))
    both = [gpu.start("up", path), gpu.start("up", path)]
    most = 0
    while any(run.process.poll() is None for run in both):
        most = max(most, len(gpu.processes("supervisor.py")))
        time.sleep(0.05)
    first, second = (run.result() for run in both)
    assert (first.exit, second.exit) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert most == 1
    assert "another gpu is launching" not in first.stdout
    assert len(gpu.ls()) == 1


def test_another_recipe_cannot_have_the_name_of_a_running_one_but_another_name(gpu: Gpu, recipe: WriteRecipe) -> None:
    url = gpu("up", str(recipe("tiny"))).stdout
    other = str(recipe("other", context=512))
    refused = gpu("up", other, "--name", "tiny", "--json")
    assert (refused.exit, refused.error["code"]) == (2, "name-taken")
    second = gpu("up", other, "--name", "second")
    assert second.exit == 0
    assert second.stdout != url
    assert {one["name"] for one in gpu.ls()} == {"tiny", "second"}
    assert gpu("url").exit == 2


def test_a_bad_name_is_refused_before_anything_is_done(gpu: Gpu, tiny: str) -> None:
    up = gpu("up", tiny, "--name", "Not A Name")
    assert up.exit == 2
    assert "--name" in up.stderr
    assert gpu.ls() == []


def test_without_waiting_up_comes_back_at_once_and_wait_sees_it_ready(
    gpu: Gpu, recipe: WriteRecipe, tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    up = gpu("up", str(recipe(misbehaviour={"load_until": str(loaded)})), "--no-wait", "--json")
    assert up.exit == 0, up.stderr
    assert up.json["state"] in ("booting", "loading")
    not_yet = gpu("url", "tiny")
    assert not_yet.exit == 6
    assert "gpu wait tiny" in not_yet.stderr
    assert gpu("wait", "tiny", "--timeout", "1s").exit == 6
    loaded.touch()
    wait = gpu("wait", "tiny")
    assert wait.exit == 0, wait.stderr
    assert wait.stdout.strip() == up.json["base_url"]
    assert gpu.state_of("tiny") == "ready"


def test_up_on_a_detached_start_waits_for_it(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = str(recipe(misbehaviour={"load_s": 1}))
    gpu("up", path, "--no-wait")
    up = gpu("up", path, "--json")
    assert (up.exit, up.json["state"]) == (0, "ready"), up.stderr
    assert len(gpu.engines()) == 1


def test_a_detached_start_that_fails_is_cleared_away_by_the_guard(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = recipe(misbehaviour={"load_s": 1, "die": ["ValueError: No available memory for the cache blocks. "]})
    gpu("up", str(path), "--no-wait")
    wait = gpu("wait", "tiny", "--json")
    assert wait.exit == 6
    assert "no memory is left for the KV cache" in wait.error["message"]
    assert gpu.state_of("tiny") == "failed"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(gpu: Gpu, tiny: str) -> None:
    dry = gpu("up", tiny, "--dry-run", "--json", "--ttl", "2h")
    assert dry.exit == 0
    assert dry.json["candidates"][0]["provider"] == "local"
    assert dry.json["ttl_s"] == 7200
    assert "--max-num-seqs" in dry.json["engine_args"]
    assert gpu.ls() == []
    assert gpu.processes() == []


def test_up_without_a_recipe_uses_the_one_of_the_folder(gpu: Gpu, recipe: WriteRecipe) -> None:
    recipe("gpu", name="from-folder")
    assert gpu("up", "--json").json["name"] == "from-folder"


def test_a_port_in_use_is_named_and_nothing_is_left(gpu: Gpu, recipe: WriteRecipe, free_port: int) -> None:
    path = recipe(providers={"local": {"port": free_port}})
    with socket.create_server(("127.0.0.1", free_port)):
        up = gpu("up", str(path), "--json")
    assert up.exit == 2
    assert f"port {free_port}: in use by" in up.error["message"]
    assert gpu.state_of("tiny") == "failed"
    assert gpu("up", str(path)).stdout.strip() == f"http://127.0.0.1:{free_port}/v1"


def test_a_recipe_that_dies_once_can_be_started_again_under_its_name(gpu: Gpu, recipe: WriteRecipe) -> None:
    assert gpu("up", str(recipe(misbehaviour={"die": ["MemoryError"]}))).exit == 6
    assert gpu("up", str(recipe())).exit == 0


def test_an_engine_that_dies_later_is_replaced_by_the_next_up(gpu: Gpu, tiny: str) -> None:
    gpu("up", tiny)
    gpu.engine().kill()
    wait_until(lambda: not gpu.processes("supervisor.py"))
    up = gpu("up", tiny)
    assert up.exit == 0, up.stderr
    ended = [one for one in gpu.ls() if one["state"] == "failed"]
    assert [one["reason"] for one in ended] == ["engine-died: killed by SIGKILL"]
