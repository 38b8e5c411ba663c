"""An endpoint at Modal that is up: who can reach it, what wakes it, what it costs, and how it ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from conftest import WriteRecipe
from driver import Gpu, Ran, wait_until
from emulators.modal_cloud import ModalEmulator
from rented import Kept, point_at
from rented_at_modal import asked, assert_nothing_is_left, environment, ordered, redirected, running, tokens, volumes

REDIRECT_AFTER_S = 1.0
LOAD_S = 1.5
"""Longer than the edge lets anybody wait."""
IDLE_S = 2
UP = ("--provider", "modal", "--json", "--show-key")
ANSWER = "Paris Paris Paris Paris"


@pytest.fixture(scope="module")
def workspace() -> Iterator[ModalEmulator]:
    """With an edge of little patience. Clients follow some twenty redirects."""
    with ModalEmulator(engine="stub", redirect_after_s=REDIRECT_AFTER_S) as cloud:
        yield cloud


@pytest.fixture
def home_of_all(workspace: ModalEmulator, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """One guard for all."""
    point_at(workspace, monkeypatch)
    monkeypatch.setenv("GPU_HOME", str(kept.gpu.home))
    return kept.gpu


@dataclass(frozen=True)
class OnDemand:
    """One deployment, and what there is to know of it."""

    gpu: Gpu
    cloud: ModalEmulator
    up: Ran

    @property
    def models(self) -> str:
        return f"{self.up.json['base_url']}/models"

    @property
    def key(self) -> dict[str, str]:
        """As clients send it."""
        return {"Authorization": f"Bearer {self.up.json['api_key']}"}

    def sleeps(self) -> None:
        """Come back when it does."""
        wait_until(lambda: not self.cloud.live_containers())


@pytest.fixture
def served(workspace: ModalEmulator, kept: Kept, home_of_all: Gpu, recipe: WriteRecipe, tmp_path: Path) -> OnDemand:
    """A web Function, up and ready. It was not before the edge had sent `gpu up` on to the answer."""
    if kept.up is None:
        loaded = tmp_path / "loaded"
        file = recipe_at(recipe, misbehaviour={"load_s": LOAD_S, "load_until": str(loaded)})
        start = home_of_all.start("up", file, *UP, "--idle", f"{IDLE_S}s")
        wait_until(lambda: redirected(workspace))
        loaded.touch()
        kept.up = start.result()
    assert kept.up.exit == 0, kept.up.stderr
    return OnDemand(home_of_all, workspace, kept.up)


def test_without_requests_its_container_goes_and_nobody_but_whoever_has_the_key_can_wake_it(
    served: OnDemand, web: httpx.Client
) -> None:
    served.sleeps()
    cloud, bill_usd = served.cloud, served.cloud.bill()["usd"]
    containers, requests, calls = len(cloud.containers_so_far), asked(cloud), len(cloud.front.calls)
    (listed,) = served.gpu.ls()
    assert (listed["state"], listed["workers"]) == ("ready", "no containers")
    wait_until(lambda: cloud.front.calls[calls:].count("TaskList") >= 2)  # of `ls`, and of the guard
    assert asked(cloud) == requests
    for headers in ({}, {"Authorization": "Bearer wk-1.ws-1"}, {"Modal-Key": "wk-1", "Modal-Secret": "ws-1"}):
        assert web.get(served.models, headers=headers).status_code == 401
    assert len(cloud.containers_so_far) == containers
    assert cloud.bill()["usd"] == bill_usd > 0


def test_chat_wakes_it_and_the_bill_goes_on(served: OnDemand) -> None:
    served.sleeps()
    bill_usd, before = served.cloud.bill()["usd"], redirected(served.cloud)
    chat = served.gpu("chat", "tiny", "-m", "hello")
    assert (chat.exit, chat.stdout) == (0, f"{ANSWER} \n"), chat.stderr
    assert redirected(served.cloud) > before
    assert served.cloud.bill()["usd"] > bill_usd


def test_the_openai_client_wakes_it_with_the_key_of_env_and_streams_through_the_edge(served: OnDemand) -> None:
    served.sleeps()
    before = redirected(served.cloud)
    with openai.OpenAI(base_url=served.up.json["base_url"], api_key=served.up.json["api_key"], max_retries=0) as client:
        answer = client.completions.create(model="tiny", prompt="Where?", max_tokens=4)
        assert (answer.choices[0].text, redirected(served.cloud) > before) == (ANSWER, True)
        chunks = client.completions.create(model="tiny", prompt="Where?", max_tokens=40, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks).split() == ["Paris"] * 40


def test_down_ends_it_and_its_key_and_it_cost_what_its_containers_cost(served: OnDemand, web: httpx.Client) -> None:
    down = served.gpu("down", "--json")
    assert down.exit == 0, down.stderr
    assert_nothing_is_left(served.cloud, served.gpu)
    assert web.get(served.models, headers=served.key).status_code == 404
    (ended,) = down.json["ended"]
    late_s = (ended["spent_usd"] - served.cloud.bill()["usd"]) / ended["price_usd_per_hour"] * 3600
    assert abs(late_s) < 15


def test_the_volumes_that_it_used_are_there_until_they_are_removed(served: OnDemand) -> None:
    listed = served.gpu("volume", "ls", "--provider", "modal", "--json")
    assert listed.exit == 0, listed.stderr
    assert [volume["name"] for volume in listed.json["volumes"]] == ["gpu-cache", "gpu-models"]
    removed = served.gpu("volume", "rm", "gpu-models", "--provider", "modal", "--yes")
    assert removed.exit == 0, removed.stderr
    assert volumes(served.cloud) == ["gpu-cache"]


def test_a_server_refuses_whoever_comes_before_it_is_ready_and_is_waited_for_all_the_same(
    workspace: ModalEmulator, home_of_all: Gpu, recipe: WriteRecipe, web: httpx.Client
) -> None:
    file = recipe_at(recipe, providers={"modal": {"endpoint": "server"}})
    launched = home_of_all("up", file, *UP, "--name", "direct", "--idle", f"{IDLE_S}s")
    assert launched.exit == 0, launched.stderr
    assert ordered(workspace).function.is_server
    server = OnDemand(home_of_all, workspace, launched)
    server.sleeps()
    containers = len(workspace.containers_so_far)
    assert web.get(server.models).status_code == 401
    assert len(workspace.containers_so_far) == containers
    assert web.get(server.models, headers=server.key).status_code == 503
    assert len(workspace.containers_so_far) == containers + 1
    chat = home_of_all("chat", "direct", "-m", "hello")
    assert (chat.exit, chat.stdout) == (0, f"{ANSWER} \n"), chat.stderr
    down = home_of_all("down", "direct")
    assert down.exit == 0, down.stderr
    assert_nothing_is_left(workspace, home_of_all)


def test_where_the_edge_takes_no_bearer_token_the_engine_has_a_key_and_the_user_is_told_what_that_means(
    workspace: ModalEmulator, home_of_all: Gpu, recipe: WriteRecipe, web: httpx.Client
) -> None:
    workspace.misbehave({"do": "no-bearer"})
    launched = home_of_all("up", recipe_at(recipe), *UP, "--name", "bare", "--idle", "2h")
    assert launched.exit == 0, launched.stderr
    bare = OnDemand(home_of_all, workspace, launched)
    assert "a stranger's request is refused, and starts a GPU all the same" in launched.stderr
    function = ordered(workspace).function
    assert not function.webhook_config.requires_proxy_auth
    assert environment(workspace)["VLLM_API_KEY"] == launched.json["api_key"]
    assert tokens(workspace) == []
    assert f"OPENAI_API_KEY={launched.json['api_key']}" in home_of_all("env", "bare").stdout
    assert web.get(bare.models, headers=bare.key).status_code == 200
    assert web.get(bare.models).status_code == web.get(bare.models.replace("/v1/models", "/metrics")).status_code == 401
    # Modal has no longer window than this.
    assert function.autoscaler_settings.scaledown_window == 3600
    assert "modal ends idle workers after 1h at the latest: while this machine is on, its guard keeps one" in (
        launched.stderr
    )
    assert len(running(workspace)) == 1
    down = home_of_all("down", "bare")
    assert down.exit == 0, down.stderr
    assert_nothing_is_left(workspace, home_of_all)


def recipe_at(recipe: WriteRecipe, **content: object) -> str:
    """For one H100."""
    return str(recipe(model="HuggingFaceTB/SmolLM2-135M-Instruct", gpu={"names": ["H100"]}, **content))
