"""What Modal's emulator says of apps, tasks, logs, money, tokens and Volumes, and what it refuses, to Modal's own
client: one fact for each test.
"""

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import modal
import pytest
from driver import wait_until
from emulators.modal_cloud import ModalEmulator
from emulators.modal_cloud.checks import check
from grpclib import GRPCError
from modal._utils.async_utils import synchronizer
from modal.exception import (
    AlreadyExistsError,
    Error,
    ImageBuildError,
    InternalError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServiceError,
)
from modal_proto import api_pb2

SOURCE = """
import subprocess

def serve():
    subprocess.Popen(["sleep", "600"])

def talk(seconds=0):
    import sys, time
    print("on stdout", flush=True)
    time.sleep(seconds)
"""
LINK = 'RUN ln -s "$(command -v python3)" /usr/local/bin/python'
IMAGE = modal.Image.from_registry("vllm/vllm-openai:v0.32.0", setup_dockerfile_commands=[LINK]).entrypoint([])
AUTOSCALED = {"min_containers": 0, "max_containers": 1, "scaledown_window": 300}


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalEmulator]:
    """The environment points at it. In a folder of no repository a deployment asks git less."""
    with (
        ModalEmulator(environments=("main", "team"), restricted=("team",)) as cloud,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(tmp_path_factory.mktemp("no-repository"))
        for name, value in cloud.env.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture
def cloud(emulated: ModalEmulator) -> Iterator[ModalEmulator]:
    """It behaves again afterwards."""
    yield emulated
    with emulated.lock:
        emulated.misbehaviour.clear()


@pytest.fixture(scope="module")
def client(emulated: ModalEmulator) -> Iterator[modal.Client]:
    with modal.Client.from_credentials(emulated.account.token_id, emulated.account.token_secret) as client:
        yield client


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("entry") / "served.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("served", path)
    assert spec
    assert spec.loader
    sys.modules["served"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["served"]


@pytest.fixture
def deploy(client: modal.Client, entry: Any) -> Iterator[Callable[..., modal.App]]:
    """Deploys an app with a web function; whatever was deployed is stopped in the end."""
    made: list[modal.App] = []

    def deploy(name: str, *, tags: Mapping[str, str] = {}, environment: str = "", **more: Any) -> modal.App:
        app = modal.App(name, tags=dict(tags))
        served = modal.concurrent(max_inputs=8)(modal.web_server(8000, requires_proxy_auth=True)(entry.serve))
        app.function(**{"image": IMAGE, "gpu": "H100!", **AUTOSCALED, **more})(served)
        made.append(app)
        app.deploy(client=client, environment_name=environment or None)
        return app

    yield deploy
    for app in made:
        if app.app_id:
            app.stop(client=client)


def state(app: modal.App) -> str:
    return app.info(refresh=True).lifecycle.state.value


def names(client: modal.Client, environment: str = "main") -> list[str | None]:
    return [app.name for app in modal.Environment.from_name(environment, client=client).apps.list()]


def asked(client: modal.Client, name: str, request: Any) -> Any:
    """The answer of an RPC that the client has no public call for."""

    async def ask(inner: Any) -> Any:
        return await getattr(inner._stub, name)(request)

    return synchronizer.create_blocking(ask, name, __name__)(client)


# Apps


def test_an_app_is_listed_with_its_name_until_it_is_stopped_and_found_by_its_id_for_ever(
    client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    app = deploy("gpu-listed-1a2b3c")
    assert "gpu-listed-1a2b3c" in names(client)
    assert state(app) == "deployed"
    app.stop(client=client)
    assert "gpu-listed-1a2b3c" not in names(client)
    assert app.app_id
    again = modal.App.lookup(app.app_id, client=client)
    assert (state(again), again.info().lifecycle.stopped_by) == ("stopped", "emulated")
    with pytest.raises(NotFoundError):
        modal.App.lookup("gpu-listed-1a2b3c", client=client)


def test_what_an_app_tells_of_itself(client: modal.Client, deploy: Callable[..., modal.App]) -> None:
    app = deploy("gpu-tells-1a2b3c", tags={"recipe": "llama"})
    told = modal.App.lookup("gpu-tells-1a2b3c", client=client).info()
    function_id = modal.Function.from_name("gpu-tells-1a2b3c", "serve", client=client).hydrate().object_id
    assert (told.app_id, told.functions, told.servers) == (app.app_id, {"serve": function_id}, {})
    assert (told.lifecycle.version, told.lifecycle.created_by) == (1, "emulated")
    assert abs(told.lifecycle.created_at.timestamp() - time.time()) < 60
    assert app.get_tags(client=client) == {"recipe": "llama"}
    app.set_tags({"recipe": "mistral"}, client=client)
    assert app.get_tags(client=client) == {"recipe": "mistral"}


def test_environments_hold_apps_apart_and_are_not_made_by_being_named(
    client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    deploy("gpu-apart-1a2b3c", environment="team")
    assert ("gpu-apart-1a2b3c" in names(client, "team"), "gpu-apart-1a2b3c" in names(client)) == (True, False)
    assert [one.name for one in modal.Environment.objects.list(client=client)] == ["main", "team"]
    with pytest.raises(NotFoundError):
        names(client, "nobodys")


def test_a_stop_may_take_a_while(cloud: ModalEmulator, deploy: Callable[..., modal.App], client: modal.Client) -> None:
    app = deploy("gpu-slowly-1a2b3c")
    cloud.misbehave({"do": "delete-lag", "seconds": 600})
    app.stop(client=client)
    assert state(app) == "stopping"
    cloud.clock.advance(600)
    assert state(app) == "stopped"


def test_a_stop_may_be_a_lie(cloud: ModalEmulator, deploy: Callable[..., modal.App], client: modal.Client) -> None:
    app = deploy("gpu-lied-1a2b3c")
    cloud.misbehave({"do": "delete-204-stays", "times": 1})
    app.stop(client=client)
    assert state(app) == "deployed"
    app.stop(client=client)
    assert state(app) == "stopped"


def test_an_app_is_on_the_bill_for_nothing_until_it_is_stopped(
    cloud: ModalEmulator, deploy: Callable[..., modal.App], client: modal.Client
) -> None:
    app = deploy("gpu-billed-1a2b3c")

    before = meter(cloud, str(app.app_id))
    app.stop(client=client)
    after = meter(cloud, str(app.app_id))
    assert (before["alive"], after["alive"], after["usd"]) == (True, False, 0.0)


# Functions


def test_a_function_tells_how_it_is_scaled_and_can_be_told_otherwise_until_the_next_deployment(
    client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    deploy("gpu-scaled-1a2b3c", scaledown_window=None)
    serve = modal.Function.from_name("gpu-scaled-1a2b3c", "serve", client=client)
    told = serve.autoscaler.settings()
    assert (told.min_containers, told.max_containers, told.scaledown_window) == (0, 1, 60)
    assert serve.autoscaler.update(scaledown_window=120).scaledown_window == 120
    assert serve.autoscaler.settings().scaledown_window == 120
    deploy("gpu-scaled-1a2b3c", scaledown_window=300)
    assert serve.autoscaler.settings().scaledown_window == 300


def test_looking_at_a_function_starts_nothing(
    cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    app = deploy("gpu-looked-1a2b3c")
    serve = modal.Function.from_name("gpu-looked-1a2b3c", "serve", client=client)
    stats = serve.get_current_stats()
    assert (stats.backlog, stats.num_total_runners, stats.num_running_inputs) == (0, 0, 0)
    assert str(serve.get_web_url()).startswith("http://127.0.0.1:")
    assert not [one for one in cloud.containers_so_far if one.function.app_id == app.app_id]


@pytest.mark.parametrize(
    ("gpu", "complaint"), [("H1000", "unknown GPU type 'H1000'"), (["H100!", "A10:8"], "8 GPUs of type A10")]
)
def test_gpus_that_there_are_not_are_refused(deploy: Callable[..., modal.App], gpu: Any, complaint: str) -> None:
    with pytest.raises(InvalidError, match=complaint):
        deploy("gpu-wrong-1a2b3c", gpu=gpu)


def created(gpus: Sequence[tuple[str, int]], **function: Any) -> api_pb2.FunctionCreateRequest:
    """A function with a list of GPUs, as it arrives."""
    ranked = []
    for rank, (gpu, count) in enumerate(gpus):
        resources = api_pb2.Resources(gpu_config=api_pb2.GPUConfig(gpu_type=gpu, count=count))
        choice = api_pb2.Function(resources=resources, **function)
        ranked.append(api_pb2.FunctionData.RankedFunction(rank=rank, function=choice))
    return api_pb2.FunctionCreateRequest(function_data=api_pb2.FunctionData(ranked_functions=ranked))


@pytest.mark.parametrize("gpu", [("H100!", 8), ("A100-40GB", 8), ("B200+", 1), ("RTX-PRO-6000", 1), ("A10", 4)])
def test_these_gpus_can_be_asked_for(gpu: tuple[str, int]) -> None:
    check(created([("H200", 1), gpu], timeout_secs=86_400, startup_timeout_secs=86_400, max_concurrent_inputs=1000))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"gpus": [("H100!", 16)]}, "16 GPUs"),
        ({"gpus": [("RTX-PRO-6000", 2)]}, "2 GPUs of type RTX-PRO-6000"),
        ({"timeout_secs": 86_401}, "24 hours"),
        ({"startup_timeout_secs": 86_401}, "24 hours"),
        ({"max_concurrent_inputs": 1001}, "1000 at most"),
        ({"max_concurrent_inputs": 8, "target_concurrent_inputs": 9}, "no less than target_inputs"),
        ({"autoscaler_settings": api_pb2.AutoscalerSettings(scaledown_window=1)}, "between 2 and 3600"),
        ({"autoscaler_settings": api_pb2.AutoscalerSettings(min_containers=2, max_containers=1)}, "min_containers"),
    ],
)
def test_what_a_function_may_not_ask_for(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(GRPCError, match=complaint):
        check(created(**{"gpus": [("H100!", 1)], **wrong}))


def test_a_window_that_the_client_would_not_send_is_refused_as_well(
    client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    app = deploy("gpu-window-1a2b3c")
    settings = api_pb2.AutoscalerSettings(scaledown_window=3601)
    function_id = app.info(refresh=True).functions["serve"]
    request = api_pb2.FunctionUpdateSchedulingParamsRequest(function_id=function_id, settings=settings)
    with pytest.raises(InvalidError, match="between 2 and 3600"):
        asked(client, "FunctionUpdateSchedulingParams", request)


# Containers, and what they say and cost


def test_a_container_is_a_task_with_its_gpus_its_log_and_its_price(
    cloud: ModalEmulator, client: modal.Client, entry: Any
) -> None:
    app = modal.App("gpu-talks-1a2b3c")
    function = app.function(image=IMAGE, gpu=["H200:2", "H100!:4"], cpu=4.0, memory=32_768, region="us")(entry.talk)
    app.deploy(client=client)
    cloud.misbehave({"do": "no-capacity", "gpu": "H200"})
    function.spawn(30)

    def tasks() -> list[Any]:
        return list(asked(client, "TaskList", api_pb2.TaskListRequest(app_id=app.app_id)).tasks)

    def said() -> list[str]:
        return [line.message for line in app.logs.tail(10)]

    wait_until(lambda: "on stdout\n" in said())
    (task,) = tasks()
    info = asked(client, "TaskGetInfo", api_pb2.TaskGetInfoRequest(task_id=task.task_id)).info
    assert (info.gpu_config.gpu_type, info.gpu_config.count, info.finished_at) == ("H100!", 4, 0.0)
    assert 0 < task.enqueued_at <= task.started_at
    stats = function.get_current_stats()
    assert (stats.num_total_runners, stats.num_running_inputs) == (1, 1)
    (line,) = [one for one in app.logs.tail(10, source="stdout") if one.message == "on stdout\n"]
    assert line.context_ids[-1] == task.task_id
    fetched = app.logs.fetch(since=datetime.now(UTC) - timedelta(minutes=5), search_text="on std")
    assert [one.message for one in fetched] == ["on stdout\n"]

    cloud.clock.advance(3600)
    app.stop(client=client)
    wait_until(lambda: not tasks())
    info = asked(client, "TaskGetInfo", api_pb2.TaskGetInfoRequest(task_id=task.task_id)).info
    hours = (info.finished_at - info.started_at) / 3600
    usd_per_hour = (4 * 3.95 + 4 * 0.0473 + 32 * 0.008) * 1.5
    wait_until(lambda: not meter(cloud, task.task_id)["alive"])
    assert meter(cloud, task.task_id)["usd"] == pytest.approx(hours * usd_per_hour, rel=0.01)


def meter(cloud: ModalEmulator, id_: str) -> Any:
    (line,) = [one for one in cloud.bill()["resources"] if one["id"] == id_]
    return line


def test_what_is_said_can_be_followed_until_the_app_is_stopped(
    cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    app = deploy("gpu-followed-1a2b3c")
    assert app.app_id
    heard: list[str] = []
    following = threading.Thread(target=lambda: heard.extend(line.message for line in app.logs.stream()))
    following.start()

    def has_been_heard() -> list[str]:
        cloud.logs.say("ap-another", "fu-1", "ta-1", "of another app")
        cloud.logs.say(str(app.app_id), "fu-1", "ta-1", "of this app")
        return heard

    wait_until(has_been_heard)
    app.stop(client=client)
    following.join(10)
    assert not following.is_alive()
    assert set(heard) == {"of this app\n"}


def test_a_report_tells_what_an_app_has_cost_in_full_hours_and_of_what(
    cloud: ModalEmulator, client: modal.Client, entry: Any
) -> None:
    app = modal.App("gpu-costly-1a2b3c", tags={"recipe": "llama"})
    function = app.function(image=IMAGE, gpu="T4", cpu=2.0)(entry.talk)
    app.deploy(client=client)
    function.spawn(30)
    wait_until(lambda: any(one.started_at and one.function.app_id == app.app_id for one in cloud.containers_so_far))
    since = datetime.fromtimestamp(cloud.clock.now(), UTC)
    report = modal.Workspace.from_context(client=client).billing.report
    cloud.clock.advance(2 * 3600)
    app.stop(client=client)
    whole = {"start": since, "end": since + timedelta(hours=2), "resolution": "h", "tag_names": ["recipe"]}
    first, second = (row for row in report(**whole) if row.object_id == app.app_id)
    assert (first.interval_start.minute, first.tags) == (0, {"recipe": "llama"})
    assert second.cost == pytest.approx(
        Decimal("0.59") + 2 * Decimal("0.0473") + Decimal("0.001"), rel=Decimal("0.001")
    )
    assert second.cost_by_resource["GPU T4"] == pytest.approx(Decimal("0.59"))


def test_rates_are_told_by_the_hour(client: modal.Client) -> None:
    told = modal.Workspace.from_context(client=client).billing.rates()
    assert (told["gpu_hour_cost_h100"], told["cpu_hour_cost"]) == (Decimal("3.95"), Decimal("0.0473"))


def test_the_workspace_has_a_name(client: modal.Client) -> None:
    assert modal.Workspace.from_context(client=client).hydrate().name == "emulated"


# Proxy tokens


def test_the_secret_of_a_proxy_token_is_told_once_and_passes_until_it_is_deleted(
    cloud: ModalEmulator, client: modal.Client
) -> None:
    tokens = modal.Workspace.from_context(client=client).proxy_tokens
    made = tokens.create(name="gpu-a")
    (told,) = [one for one in tokens.list() if one.token_id == made.token_id]
    assert (told.name, made.token_secret in repr(told)) == ("gpu-a", False)
    headers = {"modal-key": made.token_id, "modal-secret": made.token_secret}
    assert refused(cloud, headers) is None
    assert refused(cloud, {**headers, "modal-secret": "ws-wrong"}) == 401
    assert refused(cloud, {}) == 401
    tokens.delete(made.token_id)
    assert refused(cloud, headers) == 401
    with pytest.raises(NotFoundError):
        tokens.delete(made.token_id)


def test_one_authorization_header_passes_only_where_it_is_taken(cloud: ModalEmulator, client: modal.Client) -> None:
    made = modal.Workspace.from_context(client=client).proxy_tokens.create()
    headers = {"authorization": f"Bearer {made.token_id}.{made.token_secret}"}
    assert (refused(cloud, headers), refused(cloud, headers, bearer=False)) == (None, 401)


def test_who_may_make_no_tokens_is_told_so(cloud: ModalEmulator, client: modal.Client) -> None:
    cloud.misbehave({"do": "tokens-refused", "times": 1})
    with pytest.raises(modal.exception.PermissionDeniedError):
        modal.Workspace.from_context(client=client).proxy_tokens.create()


def test_a_restricted_environment_wants_its_tokens_allowed(cloud: ModalEmulator, client: modal.Client) -> None:
    tokens = modal.Workspace.from_context(client=client).proxy_tokens
    made = tokens.create()
    headers = {"modal-key": made.token_id, "modal-secret": made.token_secret}
    assert refused(cloud, headers, "team") == 403
    tokens.allow(made.token_id, "team")
    assert refused(cloud, headers, "team") is None
    assert [one.token_id for one in tokens.list(environment_name="team")] == [made.token_id]
    tokens.revoke(made.token_id, "team")
    assert refused(cloud, headers, "team") == 403


def test_the_edge_may_take_no_authorization_header_and_then_starts_nothing(
    cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    cloud.misbehave({"do": "no-bearer"})
    made = modal.Workspace.from_context(client=client).proxy_tokens.create()
    app = deploy("gpu-edge-1a2b3c")
    url = str(modal.Function.from_name("gpu-edge-1a2b3c", "serve", client=client).get_web_url())
    answer = httpx.get(url, headers={"Authorization": f"Bearer {made.token_id}.{made.token_secret}"})
    assert (answer.status_code, answer.text) == (401, "modal-http: missing credentials for proxy authorization")
    assert not [one for one in cloud.containers_so_far if one.function.app_id == app.app_id]


def refused(
    cloud: ModalEmulator, headers: Mapping[str, str], environment: str = "main", *, bearer: bool = True
) -> int | None:
    refusal = cloud.proxy_tokens.refusal(headers, environment, bearer=bearer)
    return refusal[0] if refusal else None


# Volumes


def test_a_volume_is_a_folder_that_is_found_by_its_name_until_it_is_deleted(
    cloud: ModalEmulator, client: modal.Client
) -> None:
    with pytest.raises(NotFoundError):
        modal.Volume.from_name("weights").hydrate(client=client)
    volume = modal.Volume.from_name("weights", create_if_missing=True).hydrate(client=client)
    assert volume.info().name == "weights"
    (cloud.volumes.folder(volume.object_id) / "a").mkdir()
    (cloud.volumes.folder(volume.object_id) / "a" / "b").write_text("x" * 10)
    assert [(one.path, one.size) for one in volume.listdir("/", recursive=True)][-1] == ("a/b", 10)
    assert [one.name for one in modal.Volume.objects.list(client=client)] == ["weights"]
    modal.Volume.objects.create("second", client=client)
    assert {one.name for one in modal.Volume.objects.list(client=client)} == {"weights", "second"}
    with pytest.raises(AlreadyExistsError):
        modal.Volume.objects.create("second", client=client)
    modal.Volume.objects.delete("weights", client=client)
    assert [one.name for one in modal.Volume.objects.list(client=client)] == ["second"]


def test_a_volume_keeps_its_version(client: modal.Client) -> None:
    modal.Volume.from_name("first", create_if_missing=True, version=1).hydrate(client=client)
    with pytest.raises(InvalidError, match="version"):
        modal.Volume.from_name("first", create_if_missing=True, version=2).hydrate(client=client)


# Images


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (IMAGE.dockerfile_commands("RUM true"), "unknown instruction: RUM"),
        (modal.Image.from_registry("Not A Reference"), "invalid reference format: Not"),
    ],
)
def test_what_a_builder_cannot_read_fails_the_build_and_its_log_says_why(
    client: modal.Client, deploy: Callable[..., modal.App], image: modal.Image, complaint: str
) -> None:
    with pytest.raises(ImageBuildError) as failed:
        deploy("gpu-unbuilt-1a2b3c", image=image)
    said = [line.message for line in modal.Image.from_id(failed.value.image_id, client=client).logs.tail(5)]
    assert complaint in said[-1]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (modal.Image.from_registry("vllm/vllm-openai:v0.32.0", add_python="3.12"), "unrecognized arguments"),
        (modal.Image.from_registry("vllm/vllm-openai:v0.32.0").entrypoint([]), "python: executable file not found"),
    ],
)
def test_modals_runtime_wants_a_python_and_no_entrypoint_in_an_image(
    cloud: ModalEmulator, client: modal.Client, entry: Any, image: modal.Image, said: str
) -> None:
    app = modal.App("gpu-unfit-1a2b3c")
    function = app.function(image=image)(entry.talk)
    app.deploy(client=client)
    with pytest.raises(Error):
        function.remote()
    assert said in next(iter(app.logs.tail(5, source="stdout"))).message
    app.stop(client=client)


def test_a_build_may_fail_and_is_tried_anew(cloud: ModalEmulator, deploy: Callable[..., modal.App]) -> None:
    cloud.misbehave({"do": "image-build-failed", "times": 1, "text": "no space left on device"})
    image = IMAGE.env({"SOME": "thing"})
    with pytest.raises(ImageBuildError):
        deploy("gpu-unlucky-1a2b3c", image=image)
    deploy("gpu-unlucky-1a2b3c", image=image)


# Misbehaviour


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"do": "spend-limit"}, ResourceExhaustedError),
        ({"do": "gpu-refused", "gpu": "H100"}, InvalidError),
        ({"do": "unavailable", "call": "create"}, ServiceError),
        ({"do": "server-error", "call": "create"}, InternalError),
    ],
)
def test_a_deployment_that_is_refused_leaves_no_app(
    cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App], rule: Any, error: type[Error]
) -> None:
    cloud.misbehave(rule)
    with pytest.raises(error):
        deploy("gpu-refused-1a2b3c")
    assert "gpu-refused-1a2b3c" not in names(client)


def test_a_deployment_may_be_published_though_the_answer_is_lost(
    cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App]
) -> None:
    cloud.misbehave({"do": "lost-publish"})
    with pytest.raises(ServiceError):
        deploy("gpu-lost-1a2b3c")
    assert "gpu-lost-1a2b3c" in names(client)


def test_a_deployment_may_take_its_time(cloud: ModalEmulator, deploy: Callable[..., modal.App]) -> None:
    cloud.misbehave({"do": "slow-publish", "seconds": 0.5})
    began = time.monotonic()
    deploy("gpu-slow-1a2b3c")
    assert time.monotonic() - began > 0.5


def test_rates_may_be_refused(cloud: ModalEmulator, client: modal.Client) -> None:
    cloud.misbehave({"do": "rates-refused"})
    with pytest.raises(PermissionDeniedError):
        modal.Workspace.from_context(client=client).billing.rates()


def test_a_throttled_client_waits_for_as_long_as_it_is_told(
    cloud: ModalEmulator, client: modal.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.misbehave({"do": "rate-limit", "call": "offers", "times": 1, "retry_after": 1})
    began = time.monotonic()
    modal.Workspace.from_context(client=client).billing.rates()
    assert time.monotonic() - began > 1
    cloud.misbehave({"do": "rate-limit", "call": "offers", "retry_after": 600})
    monkeypatch.setenv("MODAL_MAX_THROTTLE_WAIT", "5")
    with pytest.raises(ResourceExhaustedError):
        modal.Workspace.from_context(client=client).billing.rates()


def test_a_list_may_lag_behind(cloud: ModalEmulator, client: modal.Client, deploy: Callable[..., modal.App]) -> None:
    old = deploy("gpu-old-1a2b3c")
    cloud.clock.advance(1000)
    deploy("gpu-new-1a2b3c")
    old.stop(client=client)
    cloud.misbehave({"do": "list-lag", "seconds": 500})
    assert [name for name in names(client) if name in ("gpu-old-1a2b3c", "gpu-new-1a2b3c")] == ["gpu-old-1a2b3c"]
