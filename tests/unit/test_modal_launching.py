"""What Modal is asked for by a launch, message by message, and that a launch which fails leaves nothing."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import modal
import pytest
from driver import wait_until
from emulators.modal_cloud import ModalEmulator
from modal._traceback import print_server_warning
from modal_proto import api_pb2
from repositories import commit_in

from gpu_cli.paths import shipped
from gpu_providers.base import Kind, LaunchRequest, Offer, Secret
from gpu_providers.errors import (
    CreateUnknown,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    ProviderUnavailable,
)
from gpu_providers.modal_cloud.launching import Launching
from gpu_providers.modal_cloud.options import Endpoint, Options
from gpu_providers.modal_cloud.probe import Probe
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.sources import outside_of_git
from gpu_providers.modal_cloud.tags import Facts, decoded

NAME = "gpu-llama-0a1b2c"
USUAL = Options()
COMMAND = ("org/model", "--port", "8000", "--max-num-seqs", "64")
NO_ANSWER = Probe(answer_s=0.05, pauses_s=())
FULL = Probe(answer_s=20, pauses_s=(0.05,))
"""Until the edge has answered, however busy this machine is."""


@pytest.fixture(scope="module")
def emulated() -> Iterator[ModalEmulator]:
    """Nothing ever runs there."""
    with ModalEmulator(misbehave=[{"do": "no-capacity"}]) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def session(emulated: ModalEmulator) -> Iterator[Session]:
    session = Session({**emulated.env, "HOME": "/nowhere"})
    yield session
    session.close()


@pytest.fixture
def cloud(emulated: ModalEmulator) -> Iterator[ModalEmulator]:
    """Without the apps and tokens of other tests."""
    yield emulated
    emulated.stop_apps()
    for token in list(emulated.proxy_tokens):
        emulated.proxy_tokens.WebhookTokenDelete(api_pb2.TokenDeleteRequest(token_id=token.id))


@pytest.fixture
def launching(cloud: ModalEmulator, session: Session, tmp_path: Path) -> Launching:
    """It does not wait for the edge's word, which would be none."""
    return Launching(session, tmp_path / "state", NO_ANSWER)


@pytest.fixture
def without_bearer() -> Iterator[ModalEmulator]:
    with ModalEmulator(bearer=False, misbehave=[{"do": "no-capacity"}]) as cloud:
        yield cloud


def at(cloud: ModalEmulator, folder: Path) -> Launching:
    """A launching that asks this cloud's edge until it answers."""
    return Launching(Session({**cloud.env, "HOME": "/nowhere"}), folder / "state", FULL)


def offer(gpu: str = "H100", count: int = 1) -> Offer:
    return Offer(
        provider="modal",
        kind=Kind.SERVERLESS,
        offer_id=f"modal-{count}x{gpu}",
        gpu=gpu,
        gpu_count=count,
        gpu_memory_gib=80,
        region="",
        price_usd_per_hour=4.395,
        price_parts={"gpu": 4.395},
        prices_as_of=datetime.now(UTC),
    )


def request(**said: Any) -> LaunchRequest:
    usual = LaunchRequest(
        name=NAME,
        offer=offer(),
        image="vllm/vllm-openai:v0.32.0",
        command=COMMAND,
        env={"VLLM_NO_USAGE_STATS": "1"},
        secret_env={"HF_TOKEN": Secret("hf_private"), "VLLM_API_KEY": Secret("sk-gpu-private")},
        port=8000,
        disk_gib=100,
        labels={"name": "llama", "recipe": "llama-70b-fp8", "model": "org/model"},
        options={},
        idle_s=299.5,
        start_s=1799.2,
        concurrency=48,
        most_concurrency=64,
        entry=shipped("templates") / "modal_entry.py",
    )
    return replace(usual, **said)


def created(cloud: ModalEmulator) -> api_pb2.FunctionCreateRequest:
    """The last one that arrived."""
    return cloud.functions_created[-1]


def asked(cloud: ModalEmulator, launching: Launching, options: Options = USUAL, **said: Any) -> api_pb2.Function:
    """The function of a launch, as it arrived."""
    launching.launch(request(**said), options)
    return created(cloud).function


def environment(cloud: ModalEmulator, function: api_pb2.Function) -> Mapping[str, str]:
    """Of its containers."""
    return cloud.secret_store.environment(function.secret_ids)


def left(cloud: ModalEmulator, launching: Launching) -> list[object]:
    """What there is of a launch, at Modal and here."""
    files = [path for path in launching.state_dir.rglob("*") if path.is_file()]
    return [*cloud.state()["apps"], *cloud.state()["proxy_tokens"], *files]


# --- the messages ----------------------------------------------------------------------------------------------------


def test_one_card_as_it_is_asked_for(cloud: ModalEmulator, launching: Launching) -> None:
    function = asked(cloud, launching)
    assert (function.app_name, function.function_name, function.module_name) == (NAME, "serve", "modal_entry")
    assert function.definition_type == api_pb2.Function.DEFINITION_TYPE_FILE
    card = function.resources.gpu_config
    assert (card.gpu_type, card.count) == ("H100!", 1)
    assert (function.resources.milli_cpu, function.resources.memory_mb) == (4000, 32768)
    assert function.resources.ephemeral_disk_mb == 0
    assert function.autoscaler_settings == api_pb2.AutoscalerSettings(
        min_containers=0, max_containers=1, scaledown_window=300
    )
    assert (function.startup_timeout_secs, function.timeout_secs) == (1800, 3600)
    assert (function.max_concurrent_inputs, function.target_concurrent_inputs) == (64, 48)
    assert function.webhook_config == api_pb2.WebhookConfig(
        type=api_pb2.WEBHOOK_TYPE_WEB_SERVER,
        async_mode=api_pb2.WEBHOOK_ASYNC_MODE_AUTO,
        web_server_port=8000,
        web_server_startup_timeout=1800,
        requires_proxy_auth=True,
    )
    assert not function.HasField("scheduler_placement")
    assert not function.cloud_provider_str


@pytest.mark.parametrize(
    ("gpu", "count", "gpu_type", "milli_cpu", "memory_mb"),
    [
        ("H100", 2, "H100!", 6000, 65536),
        ("B200", 8, "B200", 18000, 262144),
        ("A100-80GB", 4, "A100-80GB", 10000, 131072),
    ],
)
def test_several_cards_as_they_are_asked_for(
    cloud: ModalEmulator, launching: Launching, gpu: str, count: int, gpu_type: str, milli_cpu: int, memory_mb: int
) -> None:
    resources = asked(cloud, launching, offer=offer(gpu, count)).resources
    assert (resources.gpu_config.gpu_type, resources.gpu_config.count) == (gpu_type, count)
    assert (resources.milli_cpu, resources.memory_mb) == (milli_cpu, memory_mb)


def test_other_cards_that_will_do_are_named_in_their_order(cloud: ModalEmulator, launching: Launching) -> None:
    others = (offer("H200", 2), offer("A100-80GB", 2), offer("H100", 2))
    launching.launch(request(offer=offer("H100", 2), instead=others), USUAL)
    message = created(cloud)
    assert not message.HasField("function")
    ranked = message.function_data.ranked_functions
    cards = [(one.rank, one.function.resources.gpu_config) for one in ranked]
    assert [(rank, card.gpu_type, card.count) for rank, card in cards] == [
        (0, "H100!", 2),
        (1, "H200", 2),
        (2, "A100-80GB", 2),
    ]
    assert {one.function.resources.memory_mb for one in ranked} == {65536}
    assert message.function_data.autoscaler_settings.max_containers == 1
    assert message.function_data.startup_timeout_secs == 1800
    assert message.function_data.webhook_config.requires_proxy_auth


def test_a_server_as_it_is_asked_for(cloud: ModalEmulator, launching: Launching) -> None:
    function = asked(cloud, launching, Options(endpoint=Endpoint.SERVER, regions=("eu-west",)))
    assert (function.function_name, function.module_name, function.is_server) == ("Server", "modal_entry", True)
    assert function.http_config == api_pb2.HTTPConfig(
        port=8000, proxy_regions=["us-east"], startup_timeout=1800, exit_grace_period=0
    )
    assert function.startup_timeout_secs == 1800
    assert function.autoscaler_settings == api_pb2.AutoscalerSettings(
        min_containers=0, max_containers=1, scaledown_window=300
    )
    assert not function.max_concurrent_inputs
    assert list(function.scheduler_placement.regions) == ["eu-west"]
    assert not function.HasField("webhook_config")


def test_a_server_that_may_grow_has_a_target(cloud: ModalEmulator, launching: Launching) -> None:
    settings = asked(cloud, launching, Options(endpoint=Endpoint.SERVER, max_containers=3)).autoscaler_settings
    assert (settings.max_containers, settings.target_concurrency_float) == (3, 48)


def test_what_the_recipe_says_about_modal_is_asked_for(cloud: ModalEmulator, launching: Launching) -> None:
    options = Options(cpu=1.5, memory_gib=10.5, regions=("us", "eu"), max_containers=4, timeout_s=7200)
    function = asked(cloud, launching, options)
    assert (function.resources.milli_cpu, function.resources.memory_mb) == (1500, 10752)
    assert list(function.scheduler_placement.regions) == ["us", "eu"]
    assert not function.scheduler_placement.nonpreemptible
    assert function.autoscaler_settings.max_containers == 4
    assert (function.startup_timeout_secs, function.timeout_secs) == (1800, 7200)


def test_of_several_regions_it_is_only_in_those_that_the_launch_names(
    cloud: ModalEmulator, launching: Launching
) -> None:
    function = asked(cloud, launching, Options(regions=("us", "eu-west")), regions=("eu-west",))
    assert list(function.scheduler_placement.regions) == ["eu-west"]


@pytest.mark.parametrize(
    ("start_s", "startup_timeout_s", "timeout_s"), [(0, 3600, 3600), (5400, 5400, 5400), (99999, 86400, 86400)]
)
def test_a_request_may_take_as_long_as_the_start_that_it_waits_for(
    cloud: ModalEmulator, launching: Launching, start_s: float, startup_timeout_s: int, timeout_s: int
) -> None:
    function = asked(cloud, launching, start_s=start_s)
    assert (function.startup_timeout_secs, function.timeout_secs) == (startup_timeout_s, timeout_s)
    assert function.webhook_config.web_server_startup_timeout == startup_timeout_s


@pytest.mark.parametrize(
    ("concurrency", "most", "max_inputs", "target_inputs"),
    [(0, 0, 100, 0), (8, 0, 8, 8), (0, 256, 256, 0), (32, 256, 256, 32), (3000, 4000, 1000, 1000)],
)
def test_a_container_gets_as_many_requests_as_its_engine_works_on(
    cloud: ModalEmulator, launching: Launching, concurrency: int, most: int, max_inputs: int, target_inputs: int
) -> None:
    function = asked(cloud, launching, concurrency=concurrency, most_concurrency=most)
    assert (function.max_concurrent_inputs, function.target_concurrent_inputs) == (max_inputs, target_inputs)


@pytest.mark.parametrize(("idle_s", "scaledown_window_s"), [(2, 2), (900, 900), (3600, 3600), (7200, 3600)])
def test_modal_ends_a_container_after_the_idle_limit_or_an_hour(
    cloud: ModalEmulator, launching: Launching, idle_s: float, scaledown_window_s: int
) -> None:
    assert asked(cloud, launching, idle_s=idle_s).autoscaler_settings.scaledown_window == scaledown_window_s


def test_an_idle_limit_that_modal_cannot_keep_is_refused_before_anything_is_asked(
    cloud: ModalEmulator, launching: Launching
) -> None:
    calls = len(cloud.front.calls)
    with pytest.raises(InvalidRequest, match="after 1 s without a request"):
        launching.launch(request(idle_s=1), USUAL)
    assert len(cloud.front.calls) == calls


def test_the_weights_and_what_is_compiled_outlive_the_container(cloud: ModalEmulator, launching: Launching) -> None:
    function = asked(cloud, launching)
    names = {volume.id: volume.name for volume in cloud.volumes}
    mounted = {mount.mount_path: names[mount.volume_id] for mount in function.volume_mounts}
    assert mounted == {"/models": "gpu-models", "/cache": "gpu-cache"}
    assert all(mount.allow_background_commits for mount in function.volume_mounts)
    env = environment(cloud, function)
    assert env["HF_HOME"].startswith("/models/")
    assert env["VLLM_CACHE_ROOT"].startswith("/cache/")


def test_the_volume_of_the_recipe_takes_the_place_of_the_usual_one(cloud: ModalEmulator, launching: Launching) -> None:
    function = asked(cloud, launching, volume="mine", env={"HF_HOME": "/models/elsewhere"})
    names = {volume.id: volume.name for volume in cloud.volumes}
    assert names[function.volume_mounts[0].volume_id] == "mine"
    assert environment(cloud, function)["HF_HOME"] == "/models/elsewhere"


def test_the_engine_is_started_by_its_own_command(cloud: ModalEmulator, launching: Launching) -> None:
    env = environment(cloud, asked(cloud, launching))
    assert json.loads(env["GPU_COMMAND"]) == ["vllm", "serve", *COMMAND]
    assert env["VLLM_NO_USAGE_STATS"] == "1"
    env = environment(cloud, asked(cloud, launching, entrypoint=("python3", "-m", "engine")))
    assert json.loads(env["GPU_COMMAND"]) == ["python3", "-m", "engine", *COMMAND]


def test_secrets_are_secrets_of_modals_and_the_engine_has_no_key_behind_a_guarded_edge(
    cloud: ModalEmulator, launching: Launching
) -> None:
    function = asked(cloud, launching)
    assert "private" not in str(cloud.functions_created)
    env = environment(cloud, function)
    assert env["HF_TOKEN"] == "hf_private"
    assert "VLLM_API_KEY" not in env
    assert "hf_private" not in env["GPU_COMMAND"]


def test_nothing_of_ours_is_uploaded_but_the_entry(cloud: ModalEmulator, launching: Launching) -> None:
    asked(cloud, launching)
    assert set(cloud.files.sources()) <= {
        (shipped("templates") / name).read_bytes() for name in ("modal_entry.py", "guard_middleware.py")
    }


def test_modals_runtime_starts_in_the_image_of_vllm(cloud: ModalEmulator, launching: Launching) -> None:
    assert cloud.images.unfit(asked(cloud, launching).image_id) == ""


def test_a_private_image_needs_the_secret_that_the_recipe_names(
    cloud: ModalEmulator, session: Session, launching: Launching
) -> None:
    private, options = "example.com/private:1", Options(registry_secret="registry")
    with pytest.raises(InvalidRequest):
        launching.launch(request(image=private), options)
    assert left(cloud, launching) == []
    with session.call("make a secret") as client:
        credential = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "private"}
        modal.Secret.objects.create("registry", credential, client=client)
    assert launching.launch(request(image=private), options).startswith("ap-")


def test_an_app_is_known_again_by_its_tags(cloud: ModalEmulator, launching: Launching) -> None:
    launching.launch(request(), Options(max_containers=2))
    (app,) = cloud.state()["apps"]
    assert app["name"] == NAME
    assert decoded(app["tags"]) == request().labels
    assert Facts.of(app["tags"]) == Facts(price_usd_per_hour=4.395, endpoint=Endpoint.FUNCTION, most_containers=2)


def test_nothing_is_told_of_the_users_repository(
    cloud: ModalEmulator, launching: Launching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_in(tmp_path, monkeypatch)
    launching.launch(request(), USUAL)
    (app,) = cloud.apps.deployed()
    assert app.commit is None


# --- the life of a launch --------------------------------------------------------------------------------------------


def test_the_token_is_kept_before_anything_is_deployed_that_demands_it(
    cloud: ModalEmulator, launching: Launching
) -> None:
    cloud.misbehave({"do": "slow-publish", "seconds": 1, "times": 1})
    calls = len(cloud.front.calls)
    with ThreadPoolExecutor() as pool:
        app_id = pool.submit(launching.launch, request(), USUAL)
        wait_until(lambda: "AppPublish" in cloud.front.calls[calls:])
        kept = launching.tokens.read(NAME)
    assert app_id.result().startswith("ap-")
    assert kept is not None
    assert kept == launching.tokens.read(NAME)
    assert not launching.note(NAME)


@pytest.mark.parametrize(
    ("what", "error"),
    [("spend-limit", InsufficientFunds), ("image-build-failed", InvalidRequest), ("gpu-refused", NoCapacity)],
)
def test_a_launch_that_modal_refuses_leaves_nothing(
    cloud: ModalEmulator, launching: Launching, what: str, error: type[ProviderError]
) -> None:
    cloud.misbehave({"do": what, "times": 1})
    with pytest.raises(error):
        launching.launch(request(image=f"vllm/vllm-openai:{what}"), USUAL)
    assert left(cloud, launching) == []


def test_a_launch_that_gets_no_token_leaves_nothing(cloud: ModalEmulator, launching: Launching) -> None:
    cloud.misbehave({"do": "unavailable", "call": "account", "times": 4})
    with pytest.raises(ProviderUnavailable):
        launching.launch(request(), USUAL)
    assert left(cloud, launching) == []


def test_a_launch_whose_token_cannot_be_kept_leaves_nothing(cloud: ModalEmulator, launching: Launching) -> None:
    launching.state_dir.write_text("a file, where a folder should be")
    with pytest.raises(InvalidRequest, match="cannot be kept"):
        launching.launch(request(), USUAL)
    assert (cloud.state()["apps"], cloud.state()["proxy_tokens"]) == ([], [])


@pytest.mark.parametrize("rule", [{"do": "lost-publish"}, {"do": "unavailable", "call": "create"}])
def test_a_launch_without_an_answer_says_that_its_app_may_be_there(
    cloud: ModalEmulator, launching: Launching, rule: Mapping[str, Any]
) -> None:
    cloud.misbehave({"times": 8, **rule})  # as often as Modal's client tries, twice
    with pytest.raises(CreateUnknown):
        launching.launch(request(), USUAL)
    assert launching.tokens.read(NAME) is not None


def test_ctrl_c_leaves_nothing(cloud: ModalEmulator, launching: Launching) -> None:
    cloud.misbehave({"do": "slow-publish", "seconds": 60, "times": 1})
    calls = len(cloud.front.calls)

    def interrupt() -> None:
        wait_until(lambda: "AppPublish" in cloud.front.calls[calls:])
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        launching.launch(request(), USUAL)
    assert left(cloud, launching) == []


def test_a_second_launch_has_nothing_of_the_first(cloud: ModalEmulator, launching: Launching) -> None:
    server = Options(endpoint=Endpoint.SERVER, regions=("us",), cpu=8)
    first_id = launching.launch(request(env={"FIRST": "1"}, volume="first", labels={"name": "first"}), server)
    second_id = launching.launch(request(name="gpu-second-0a1b2c", offer=offer("L4")), USUAL)
    second = created(cloud).function
    assert first_id != second_id
    assert second.resources.gpu_config.gpu_type == "L4"
    assert not second.is_server
    assert not second.HasField("scheduler_placement")
    assert "FIRST" not in environment(cloud, second)
    names = {app["name"]: decoded(app["tags"])["name"] for app in cloud.state()["apps"]}
    assert names == {NAME: "first", "gpu-second-0a1b2c": "llama"}


def test_launches_in_several_threads_do_not_meet(cloud: ModalEmulator, launching: Launching) -> None:
    cards = {"gpu-one-0a1b2c": "L4", "gpu-two-0a1b2c": "T4", "gpu-three-0a1b2c": "H200"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: launching.launch(request(name=name, offer=offer(cards[name])), USUAL), cards))
    messages = [message.function for message in cloud.functions_created[-len(cards) :]]
    assert {one.app_name: one.resources.gpu_config.gpu_type for one in messages} == cards


def test_a_launch_says_nothing_and_writes_nothing_but_its_state(
    cloud: ModalEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    launching = replace(at(cloud, tmp_path), probe=NO_ANSWER)
    entry = tmp_path / "modal_entry.py"
    shutil.copy(shipped("templates") / "modal_entry.py", entry)
    monkeypatch.chdir(tmp_path)
    launching.launch(request(entry=entry), USUAL)
    print_server_warning("this card is about to go")  # as the client does with what comes with an answer
    throttled = {"do": "rate-limit", "call": "create", "times": 1, "retry_after": 0}
    unanswered = {"do": "unavailable", "call": "create", "times": 8}
    cloud.misbehave(throttled, unanswered, {"do": "spend-limit", "times": 1})
    for name in ("gpu-second-0a1b2c", "gpu-third-0a1b2c"):
        with pytest.raises(ProviderError):
            launching.launch(request(name=name, entry=entry), USUAL)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("modal")] == []
    kept = {launching.tokens.folder / name for name in (NAME, "gpu-second-0a1b2c")}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {entry, *kept}


# --- where the edge takes no bearer token ----------------------------------------------------------------------------


def test_an_edge_that_takes_the_token_keeps_guarding(tmp_path: Path) -> None:
    with ModalEmulator(misbehave=[{"do": "no-capacity"}]) as cloud:
        launching = at(cloud, tmp_path)
        launching = replace(launching, probe=Probe(answer_s=1, pauses_s=()))
        launching.launch(request(), USUAL)
        assert created(cloud).function.webhook_config.requires_proxy_auth
        assert len(cloud.functions_created) == 1


def test_where_the_edge_takes_no_bearer_token_the_engine_checks_its_own_key(
    without_bearer: ModalEmulator, tmp_path: Path
) -> None:
    launching = at(without_bearer, tmp_path)
    app_id = launching.launch(request(), USUAL)
    (app,) = without_bearer.apps.deployed()
    function = created(without_bearer).function
    assert app.id == app_id
    assert not function.webhook_config.requires_proxy_auth
    env = environment(without_bearer, function)
    assert env["VLLM_API_KEY"] == "sk-gpu-private"
    assert json.loads(env["GPU_COMMAND"])[-2:] == ["--middleware", "guard_middleware.GuardMiddleware"]
    assert (shipped("templates") / "guard_middleware.py").read_bytes() in set(without_bearer.files.sources())
    assert without_bearer.state()["proxy_tokens"] == []
    assert launching.tokens.read(NAME) is None
    assert "starts a GPU" in launching.note(NAME)


def test_an_engine_without_a_key_is_never_left_open(without_bearer: ModalEmulator, tmp_path: Path) -> None:
    launching = at(without_bearer, tmp_path)
    with pytest.raises(InvalidRequest, match="no key of its own"):
        launching.launch(request(secret_env={}), USUAL)
    assert left(without_bearer, launching) == []


def test_an_app_that_cannot_be_published_anew_is_taken_back(without_bearer: ModalEmulator, tmp_path: Path) -> None:
    without_bearer.misbehave({"do": "spend-limit", "after": 1})
    launching = at(without_bearer, tmp_path)
    with pytest.raises(InsufficientFunds):
        launching.launch(request(), USUAL)
    assert left(without_bearer, launching) == []


def test_an_app_that_cannot_be_taken_back_may_be_there(without_bearer: ModalEmulator, tmp_path: Path) -> None:
    without_bearer.misbehave({"do": "spend-limit", "after": 1}, {"do": "unavailable", "call": "delete"})
    with pytest.raises(CreateUnknown, match="may go on"):
        at(without_bearer, tmp_path).launch(request(), USUAL)


def test_where_nobody_knows_whether_it_was_published_anew_it_is_taken_back(
    without_bearer: ModalEmulator, tmp_path: Path
) -> None:
    without_bearer.misbehave({"do": "lost-publish", "after": 1})
    launching = at(without_bearer, tmp_path)
    with pytest.raises(CreateUnknown):
        launching.launch(request(), USUAL)
    assert left(without_bearer, launching) == []


def test_an_app_whose_publishing_was_not_answered_is_published_anew_and_asked_whose_key_it_takes(
    without_bearer: ModalEmulator, tmp_path: Path
) -> None:
    without_bearer.misbehave({"do": "lost-publish", "times": 4})  # as often as Modal's client tries
    launching = at(without_bearer, tmp_path)
    launching.launch(request(), USUAL)
    assert launching.note(NAME)
    assert without_bearer.apps_deployed() == [NAME]


def test_where_we_may_not_make_tokens_the_engine_checks_its_own_key(cloud: ModalEmulator, launching: Launching) -> None:
    cloud.misbehave({"do": "tokens-refused", "times": 1})
    launching.launch(request(), USUAL)
    function = created(cloud).function
    assert not function.webhook_config.requires_proxy_auth
    assert environment(cloud, function)["VLLM_API_KEY"] == "sk-gpu-private"
    assert launching.tokens.read(NAME) is None
    assert "may not make proxy tokens" in launching.note(NAME)
    assert cloud.apps_deployed() == [NAME]
    launching.tokens.forget(None, NAME)
    assert launching.tokens.names() == set(), "nothing was made that could be left"


def test_without_a_token_and_without_a_key_nothing_is_launched(cloud: ModalEmulator, launching: Launching) -> None:
    cloud.misbehave({"do": "tokens-refused", "times": 1})
    with pytest.raises(InvalidRequest, match="no key of its own"):
        launching.launch(request(secret_env={}), USUAL)
    assert left(cloud, launching) == []


# --- the user's repository -------------------------------------------------------------------------------------------


def test_the_variable_of_git_is_as_it_was_however_deploys_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/mine")
    first, second = outside_of_git(), outside_of_git()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.environ["GIT_DIR"] == os.devnull
    second.__exit__(None, None, None)
    assert os.environ["GIT_DIR"] == "/mine"
