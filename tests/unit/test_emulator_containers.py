"""The emulators' containers: what Docker and a host do with a command, done with processes of this machine."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from driver import wait_until
from emulators import containers as containers_module
from emulators.clock import Clock
from emulators.container_log import CONTAINER, SYSTEM
from emulators.container_spec import Boot, ContainerSpec, State
from emulators.containers import REACH, Container, Containers
from emulators.engines import PYTHONS
from emulators.engines import Engine as EngineKind
from emulators.images import command_on, env_on
from emulators.runpod.command import what_runs
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.engine.environment import Engine
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

IMAGE = "vllm/vllm-openai:v0.32.0"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def containers(clock: Clock) -> Iterator[Containers]:
    made = Containers(clock)
    yield made
    made.close()


def spec(*cmd: str, entrypoint: Sequence[str] = ("python3", "-c"), env: Mapping[str, str] = {}) -> ContainerSpec:
    return ContainerSpec("pod1", IMAGE, entrypoint, cmd, env, port=8000)


def said(container: Container, source: str) -> list[str]:
    return [line.line for line in container.log.lines() if line.source == source]


def starts(container: Container) -> int:
    return said(container, SYSTEM).count(f"start container for {IMAGE}: begin")


def processes_of(container: Container) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(container.folder) in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_command_that_ends_is_started_again_for_ever_and_its_log_goes_on(containers: Containers) -> None:
    container = containers.start(spec("print('hello')"), "stub")

    wait_until(lambda: starts(container) >= 3 and said(container, CONTAINER).count("hello") >= 2)
    assert container.restarts >= 2
    assert container.state() in (State.RUNNING, State.RESTARTING)


def test_the_uptime_falls_when_the_command_is_started_again(containers: Containers) -> None:
    container = containers.start(spec("import time; time.sleep(0.5)"), "stub")

    wait_until(lambda: (container.uptime_s or 0) > 0.3)
    wait_until(lambda: container.uptime_s is not None and container.uptime_s < 0.3)


def test_files_of_a_container_survive_a_restart_of_its_command(containers: Containers) -> None:
    code = "import pathlib; f = pathlib.Path('~/seen').expanduser(); print(f.exists()); f.touch()"
    container = containers.start(spec(code), "stub")

    wait_until(lambda: len(said(container, CONTAINER)) >= 2)
    assert said(container, CONTAINER)[:2] == ["False", "True"]


def test_both_outputs_of_the_command_are_in_the_log_with_nanoseconds(containers: Containers) -> None:
    container = containers.start(spec("import sys; print('out', flush=True); print('err', file=sys.stderr)"), "stub")

    wait_until(lambda: {"out", "err"} <= set(said(container, CONTAINER)))
    assert all(len(line.ts) == len("2026-01-01T00:00:00.123456789Z") for line in container.log.lines())
    assert [line.at_ns for line in container.log.lines()] == sorted(line.at_ns for line in container.log.lines())


def test_the_host_pulls_as_long_as_it_is_told_and_logs_each_layer(containers: Containers, clock: Clock) -> None:
    container = containers.start(spec(), "none", Boot(pull_s=600, layers=2))

    wait_until(lambda: len(said(container, SYSTEM)) == 4)
    assert container.state() is State.CREATING
    assert container.uptime_s is None
    clock.advance(700)
    wait_until(lambda: container.state() is State.RUNNING)
    assert said(container, SYSTEM) == [
        f"create container {IMAGE}",
        "0000000a11ce Pulling fs layer",
        "0000000a11cf Pulling fs layer",
        "0000000a11ce Downloading",
        "0000000a11ce Pull complete",
        "0000000a11cf Downloading",
        "0000000a11cf Pull complete",
        f"Status: Downloaded newer image for {IMAGE}",
        f"start container for {IMAGE}: begin",
    ]


def test_without_an_engine_it_runs_and_nothing_listens(containers: Containers) -> None:
    container = containers.start(spec(), "none")

    wait_until(lambda: container.uptime_s is not None)
    assert container.port is None


def test_a_dead_host_says_nothing_and_starts_nothing(containers: Containers) -> None:
    container = containers.start(spec("print('hello')"), "stub", Boot(dead=True))

    time.sleep(0.3)
    assert container.state() is State.CREATING
    assert not container.log.lines()


def test_a_host_that_cannot_start_the_container_says_why_and_does_not(containers: Containers) -> None:
    why = "error starting container: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0"
    container = containers.start(spec("print('hello')"), "stub", Boot(fatal=(why,)))

    wait_until(lambda: why in said(container, SYSTEM))
    time.sleep(0.2)
    assert starts(container) == 0


def test_a_crash_loop_can_be_had_without_any_engine(containers: Containers) -> None:
    container = containers.start(spec(), "none", Boot(crash_after_s=0.05, crash_lines=("boom",)))

    wait_until(lambda: starts(container) >= 2)
    assert "boom" in said(container, CONTAINER)


def test_a_command_that_does_not_exist_is_told_as_docker_does(containers: Containers) -> None:
    container = containers.start(spec(entrypoint=("no-such-program",)), "stub")

    wait_until(
        lambda: any(line.startswith("error starting container: no-such-program") for line in said(container, SYSTEM))
    )


DETACHED = """
import os, subprocess, sys, time
for _ in range(2):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
print('ready', flush=True)
time.sleep(600)
"""


def test_stop_ends_every_process_however_it_has_detached_itself(containers: Containers) -> None:
    container = containers.start(spec(DETACHED), "stub")
    wait_until(lambda: "ready" in said(container, CONTAINER) and len(processes_of(container)) == 4)

    container.stop()
    container.join()

    assert not processes_of(container)
    assert container.state() is State.REMOVED
    assert said(container, SYSTEM)[-2:] == ["stop container", "remove container"]


def test_what_the_main_process_leaves_behind_ends_with_it(containers: Containers) -> None:
    code = "import os, time; time.sleep(600) if os.fork() == 0 else time.sleep(0.2)"
    container = containers.start(spec(code), "stub")

    wait_until(lambda: starts(container) >= 3)
    container.stop()
    container.join()
    assert not processes_of(container)


def test_a_command_that_ignores_the_signal_is_killed(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers_module, "STOP_GRACE_S", 0.2)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    container = containers.start(spec(code), "stub")
    wait_until(lambda: "deaf" in said(container, CONTAINER))

    container.stop()
    container.join()

    assert not processes_of(container)


def test_stop_does_not_wait_for_a_command_that_takes_its_time(containers: Containers) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(2)"
    )
    container = containers.start(spec(code), "stub")
    wait_until(lambda: "deaf" in said(container, CONTAINER))

    container.stop()

    assert container.state() is State.RUNNING


def test_the_command_sees_what_the_cloud_sets_and_nothing_of_the_callers(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "of-the-account")
    monkeypatch.setenv("HF_TOKEN", "of-the-user")
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example/simple")
    cloud = {"RUNPOD_API_KEY": "of-the-pod", "RUNPOD_POD_ID": "pod1"}
    container = containers.start(spec("import json, os; print(json.dumps(dict(os.environ)))", env=cloud), "stub")

    wait_until(lambda: said(container, CONTAINER))
    seen = json.loads(said(container, CONTAINER)[0])
    ours = {"PATH", "HOME", "LANG", "CUDA_VERSION", "CUDA_VISIBLE_DEVICES", "SPT_NOENV", "GPU_EMULATOR_CONTAINER"}
    by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    assert set(seen) - by_the_shell - set(REACH) == ours | set(cloud)
    assert seen["RUNPOD_API_KEY"] == "of-the-pod"
    assert seen["PIP_INDEX_URL"] == "https://pypi.example/simple"
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert Path(seen["HOME"]) == container.folder != Path(os.environ["HOME"])


def test_the_images_own_entrypoint_serves_a_model_of_the_hub_to_everyone(containers: Containers) -> None:
    serve = spec("org/model", "--port", "8000", "--max-model-len", "512", entrypoint=())
    container = containers.start(serve, "stub")

    wait_until(lambda: container.port)
    with urlopen(f"http://127.0.0.1:{container.port}/v1/models") as answer:
        assert json.load(answer)["data"][0]["id"] == "org/model"


@pytest.mark.engine
def test_the_real_engine_is_what_python3_means_in_a_container(
    containers: Containers, home: Path, real_engine: Engine, real_engine_cache: Path
) -> None:
    home.mkdir()
    (home / "cache").symlink_to(real_engine_cache, target_is_directory=True)
    code = "import importlib.util; print(importlib.util.find_spec('vllm').origin)"
    container = containers.start(spec(code, env={"PYTHONPATH": "/of/the/middleware"}), "vllm")

    wait_until(lambda: said(container, CONTAINER))
    assert Path(said(container, CONTAINER)[0]).resolve().is_relative_to(real_engine.root.resolve())


def test_an_engine_that_cannot_be_installed_is_an_image_that_cannot_be_pulled(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError(Exit.NOTHING_FITS, "no-disk", "40 GiB are needed")

    monkeypatch.setitem(PYTHONS, EngineKind.VLLM, fail)
    container = containers.start(spec("print(1)"), "vllm")

    wait_until(lambda: "failed to pull image: 40 GiB are needed" in said(container, SYSTEM))
    assert container.state() is State.CREATING


def test_two_containers_with_the_same_declared_port_run_beside_each_other(containers: Containers) -> None:
    pair = [containers.start(spec("org/model", "--port=8000", entrypoint=()), "stub") for _ in range(2)]

    wait_until(lambda: all(container.port for container in pair))
    assert pair[0].port != pair[1].port


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8)), st.integers(1, 65535))
def test_only_the_declared_port_of_a_command_is_rewritten(words: list[str], other: int) -> None:
    command = [*words, "--port", "8000", "--api-port", "8000", "--port=8000", "8000", "--port", str(other)]
    last = "23456" if other == 8000 else str(other)
    untouched = command_on(words, 8000, 23456)

    assert command_on(command, 8000, 23456) == [
        *untouched, "--port", "23456", "--api-port", "8000", "--port=23456", "8000", "--port", last,
    ]  # fmt: skip
    assert all(a == b or b in ("8000", "--port=8000") for a, b in zip(untouched, words, strict=True))


def test_the_supervisor_is_told_the_port_in_both_places() -> None:
    document = {"version": 1, "port": 8000, "engine": ["python3", "--port", "8000"], "idle_s": 5}
    env = {"GPU_SUPERVISOR": json.dumps(document), "PORT": "8000"}

    rewritten = env_on(env, 8000, 23456)

    assert json.loads(rewritten["GPU_SUPERVISOR"]) == {
        **document,
        "port": 23456,
        "engine": ["python3", "--port", "23456"],
    }
    assert rewritten["PORT"] == "8000"


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"engine": 5, "port": 8000}', '{"engine": [5], "port": 1}']
)
def test_a_configuration_that_cannot_be_read_is_left_to_the_supervisor(text: str) -> None:
    assert env_on({"GPU_SUPERVISOR": text}, 8000, 23456) == {"GPU_SUPERVISOR": text}


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({}, (("vllm", "serve"), ())),
        ({"args": "org/model --port 8000"}, (("vllm", "serve"), ("org/model", "--port", "8000"))),
        ({"args": "python3 -c 'print(1)'"}, (("vllm", "serve"), ("python3", "-c", "print(1)"))),
        ({"entrypoint": ["python3"], "cmd": ["-c", "print(1)"]}, (("python3",), ("-c", "print(1)"))),
        ({"args": '{"entrypoint": ["python3"], "cmd": ["-c", "{}"]}'}, (("python3",), ("-c", "{}"))),
        ({"cmd": ["org/model"]}, (("vllm", "serve"), ("org/model",))),
    ],
)
def test_a_request_says_in_several_ways_what_runs(asked: dict[str, object], runs: object) -> None:
    assert what_runs({"image": IMAGE, **asked}) == runs
