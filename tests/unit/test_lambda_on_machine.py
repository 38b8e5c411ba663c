"""What is done on a machine to set it up, with small stand-ins for its programs."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from a_vm import GPU, Vm
from hypothesis import given
from hypothesis import strategies as st

from gpu_providers.lambda_cloud import on_machine as shipped

PARCEL: Mapping[str, Any] = {
    "image": "vllm/vllm-openai:v0.20.0",
    "older_image": "vllm/vllm-openai:v0.20.0-cu129",
    "min_cuda_version": "13.0",
    "entrypoint": ["python3"],
    "command": ["-c", "print(1)\nprint(2)"],
    "env": {"VLLM_API_KEY": "sesame", "QUOTED": "a 'b' \"c\" #d=e"},
    "labels": {"name": "gpu-a"},
    "port": 8000,
    "publish": "127.0.0.1",
    "volume": "",
    "gpu_count": 1,
    "architecture": "x86_64",
}


@pytest.fixture
def vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """This process is on it."""
    vm = Vm(tmp_path)
    for name, value in vm.env.items():
        monkeypatch.setenv(name, value)
    return vm


@pytest.fixture
def script(vm: Vm) -> ModuleType:
    """As it lies on the machine, in no mood to wait."""
    folder = vm.home / ".gpu-machine"
    folder.mkdir()
    path = folder / "on_machine.py"
    path.write_bytes(Path(shipped.__file__).read_bytes())
    spec = importlib.util.spec_from_file_location("on_machine_there", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"CLOUD_INIT_S": 0.1, "DRIVER_S": 0.1, "DOCKER_S": 0.1, "POLL_S": 0.02}.items():
        setattr(module, name, value)
    module.PULL_PAUSES_S = (0.0, 0.0, 0.0)  # type: ignore[attr-defined]
    return module


def ended(script: ModuleType, **changed: Any) -> dict[str, Any]:
    """How it ends, with this parcel."""
    script.write(script.PARCEL, json.dumps({**PARCEL, **changed}))
    script.run()
    assert not script.PARCEL.exists()
    assert not script.ENV_FILE.exists()
    return dict(script.status())


def failed(whose: str, detail: str) -> dict[str, str]:
    return {"stage": "failed", "failed": whose, "detail": detail}


def test_a_good_machine_ends_with_its_container_running(script: ModuleType, vm: Vm) -> None:
    assert ended(script) == {"stage": "up", "detail": "the container runs", "port": 8000}
    assert vm.calls("docker run -d") == [
        "docker run -d --name gpu-engine --gpus all --ipc=host "
        f"--env-file {vm.home}/.gpu-machine/container.env -p 127.0.0.1:8000:8000 --label name=gpu-a "
        "--entrypoint python3 vllm/vllm-openai:v0.20.0 -c print(1)"
    ]
    assert (vm.home / "env.given").read_text() == "VLLM_API_KEY=sesame\nQUOTED=a 'b' \"c\" #d=e\n"


def test_secrets_are_in_no_command_line_and_in_no_log(
    script: ModuleType, vm: Vm, capfd: pytest.CaptureFixture[str]
) -> None:
    ended(script)
    assert "sesame" not in (vm.home / "calls").read_text()
    said, complaints = capfd.readouterr()
    assert "[set-up] starting the container\n" in said
    assert "sesame" not in said + complaints + script.STATUS.read_text()


def test_the_file_with_the_environment_is_for_its_owner_alone(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker run -d", 'stat -c %a "$HOME/.gpu-machine/container.env" > "$HOME/mode"')
    ended(script)
    assert (vm.home / "mode").read_text() == "600\n"


def test_a_volume_is_mounted_at_its_own_path(script: ModuleType, vm: Vm) -> None:
    ended(script, volume="/lambda/nfs/volume")
    assert " -v /lambda/nfs/volume:/lambda/nfs/volume " in vm.calls("docker run -d")[0]


def test_the_port_is_the_one_that_docker_has_published(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker port", "printf '0.0.0.0:18000\\n[::]:18000\\n'; exit 0")
    assert ended(script)["port"] == 18000


def test_a_container_that_runs_is_kept(script: ModuleType, vm: Vm) -> None:
    vm.has_container()
    assert ended(script)["stage"] == "up"
    assert not vm.calls("docker run")
    assert not vm.calls("systemctl")


def test_one_that_was_made_but_never_started_is_made_anew(script: ModuleType, vm: Vm) -> None:
    vm.has_container("created 0")
    assert ended(script)["stage"] == "up"
    assert (vm.home / "container.removed").read_text() == "created 0\n"


def test_one_that_has_ended_is_not_started_again(script: ModuleType, vm: Vm) -> None:
    vm.has_container("exited 3")
    vm.answers("docker port", "echo 'no public port' >&2; exit 1")
    assert ended(script) == failed("command", "its command has ended with exit status 3")
    assert not vm.calls("docker run")


def test_a_docker_that_does_not_tell_what_runs_is_not_taken_for_an_empty_one(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker inspect", "echo 'error: the daemon is busy' >&2; exit 1")
    assert ended(script) == failed("host", "its Docker does not tell what runs: error: the daemon is busy")
    assert not vm.calls("docker run")


def test_a_sudo_that_asks_for_a_password_ends_it_at_once(script: ModuleType, vm: Vm) -> None:
    vm.answers("sudo -n docker", "echo 'sudo: a password is required' >&2; exit 1")
    assert ended(script) == failed("host", "we cannot work as root on it: sudo: a password is required")


@pytest.mark.parametrize(
    "said", ["sudo: a terminal is required to read the password", "ubuntu is not in the sudoers file."]
)
def test_so_does_one_that_does_not_let_us(script: ModuleType, vm: Vm, said: str) -> None:
    vm.answers("sudo -n docker", f"echo '{said}' >&2; exit 1")
    assert ended(script) == failed("host", f"we cannot work as root on it: {said}")


def test_a_sudo_that_only_grumbles_does_not_matter(script: ModuleType, vm: Vm) -> None:
    vm.answers("sudo -n docker", "echo 'sudo: unable to resolve host 0129-x: Name or service not known' >&2")
    assert ended(script)["stage"] == "up"


def test_a_machine_without_docker_fails(script: ModuleType, vm: Vm) -> None:
    vm.answers("sudo -n docker", "echo 'sudo: docker: command not found' >&2; exit 1")
    assert ended(script) == failed("host", "we cannot work as root on it: sudo: docker: command not found")


def test_a_docker_that_comes_up_late_is_waited_for(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker version", '[ -f "$HOME/late" ] || { touch "$HOME/late"; echo "Cannot connect" >&2; exit 1; }')
    assert ended(script)["stage"] == "up"


def test_one_that_never_does_is_the_hosts_failure(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker version", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert ended(script) == failed("host", "its Docker does not answer: Cannot connect to the Docker daemon")


def test_cloud_init_is_waited_for(script: ModuleType, vm: Vm) -> None:
    vm.answers("cloud-init", '[ -f "$HOME/late" ] || { touch "$HOME/late"; echo "status: running"; exit 0; }')
    assert ended(script)["stage"] == "up"
    assert len(vm.calls("cloud-init")) == 2


@pytest.mark.parametrize("said", ["status: running", "status: error", "status: disabled"])
def test_cloud_init_that_hangs_or_fails_is_no_reason_to_give_up(script: ModuleType, vm: Vm, said: str) -> None:
    vm.answers("cloud-init", f"echo '{said}'; exit 1")
    assert ended(script)["stage"] == "up"


def test_another_architecture_than_offered_fails(script: ModuleType, vm: Vm) -> None:
    vm.answers("uname", "echo aarch64; exit 0")
    assert ended(script) == failed("host", "it has arm64 processors, not x86_64 as offered")


def test_arm64_is_what_the_kernel_calls_aarch64(script: ModuleType, vm: Vm) -> None:
    vm.answers("uname", "echo aarch64; exit 0")
    assert ended(script, architecture="arm64")["stage"] == "up"


def test_a_driver_that_loads_late_is_waited_for(script: ModuleType, vm: Vm) -> None:
    vm.answers("nvidia-smi", '[ -f "$HOME/late" ] || { touch "$HOME/late"; exit 9; }')
    assert ended(script)["stage"] == "up"


def test_one_that_never_does_is_told_in_its_own_words(script: ModuleType, vm: Vm) -> None:
    vm.answers("nvidia-smi", "echo 'NVIDIA-SMI has failed: make sure that the driver runs.'; exit 9")
    said = "its GPU driver does not answer: NVIDIA-SMI has failed: make sure that the driver runs."
    assert ended(script) == failed("host", said)


def test_fewer_gpus_than_ordered_fail(script: ModuleType) -> None:
    assert ended(script, gpu_count=8) == failed("host", "it has 1 of 8 GPUs")


@pytest.mark.parametrize(
    ("driver", "image"),
    [("580.105.08", "v0.20.0"), ("590.44", "v0.20.0"), ("570.148.08", "v0.20.0-cu129"), ("575.51", "v0.20.0-cu129")],
)
def test_the_driver_chooses_the_image(script: ModuleType, vm: Vm, driver: str, image: str) -> None:
    vm.answers("nvidia-smi", f"echo '{GPU.replace('580.105.08', driver)}'; exit 0")
    assert ended(script)["stage"] == "up"
    assert vm.calls("docker pull") == [f"docker pull vllm/vllm-openai:{image}"]


def test_a_driver_that_is_too_old_for_the_only_image_is_the_hosts_failure(script: ModuleType, vm: Vm) -> None:
    vm.answers("nvidia-smi", f"echo '{GPU.replace('580.105.08', '570.148.08')}'; exit 0")
    said = "its driver 570.148.08 is too old for CUDA 13.0, which needs 580"
    assert ended(script, older_image="") == failed("host", said)
    assert not vm.calls("docker pull")


@given(st.tuples(st.integers(11, 15), st.integers(0, 9)), st.tuples(st.integers(11, 15), st.integers(0, 9)))
def test_a_newer_cuda_never_needs_an_older_driver(one: tuple[int, int], other: tuple[int, int]) -> None:
    older, newer = sorted((one, other))
    needed = [shipped.needed_driver(f"{major}.{minor}") for major, minor in (older, newer)]
    assert needed == sorted(needed)


def test_no_wish_for_a_release_of_cuda_is_met_by_any_driver() -> None:
    assert shipped.needed_driver("") == 0


def test_docker_is_told_to_leave_cgroups_to_itself_and_keeps_its_other_settings(script: ModuleType, vm: Vm) -> None:
    vm.has_settings('{"runtimes": {"nvidia": {}}, "exec-opts": ["native.cgroupdriver=systemd"]}')
    vm.answers("docker info", "echo systemd; exit 0")
    assert ended(script)["stage"] == "up"
    found = json.loads(vm.daemon_json.read_text())
    assert found == {"runtimes": {"nvidia": {}}, "exec-opts": ["native.cgroupdriver=cgroupfs"]}
    assert vm.calls("systemctl") == ["systemctl restart docker"]


@pytest.mark.parametrize("settings", [None, "", "{", "[]"])
def test_settings_that_are_missing_or_broken_are_made_anew(script: ModuleType, vm: Vm, settings: str | None) -> None:
    if settings is not None:
        vm.has_settings(settings)
    vm.answers("docker info", "echo systemd; exit 0")
    ended(script)
    assert json.loads(vm.daemon_json.read_text()) == {"exec-opts": ["native.cgroupdriver=cgroupfs"]}


def test_settings_that_cannot_be_written_leave_docker_as_it_is(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker info", "echo systemd; exit 0")
    vm.answers("sudo -n tee", "echo 'tee: /etc/docker/daemon.json: No space left on device' >&2; exit 1")
    said = "its Docker cannot be configured: tee: /etc/docker/daemon.json: No space left on device"
    assert ended(script) == failed("host", said)
    assert not vm.calls("systemctl")


def test_a_docker_that_does_not_come_back_is_the_hosts_failure(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker info", "echo systemd; exit 0")
    vm.answers("systemctl", "echo 'Job for docker.service failed.' >&2; exit 1")
    assert ended(script) == failed("host", "its Docker does not start again: Job for docker.service failed.")


def test_an_image_that_is_there_is_not_pulled_again(script: ModuleType, vm: Vm) -> None:
    (vm.home / "image").touch()
    assert ended(script)["stage"] == "up"
    assert not vm.calls("docker pull")


def test_the_pull_tells_how_far_it_has_come(script: ModuleType, vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(script, "tell", lambda _, detail: told.append(detail))
    layers = "a" * 12, "b" * 12
    lines = [f"{layers[0]}: Pulling fs layer", f"{layers[1]}: Already exists", f"{layers[0]}: Download complete"]
    vm.answers("docker pull", "printf '%s\\n' 'v1: Pulling from x/y' " + " ".join(f"'{line}'" for line in lines))
    script.pull("x/y:v1")
    assert told == [
        "pulling the image x/y:v1",
        "pulling the image: 0 of 1 layers",
        "pulling the image: 1 of 2 layers",
        "pulling the image: 1 of 2 layers, 1 more downloaded",
    ]


def test_a_network_that_fails_is_tried_again(script: ModuleType, vm: Vm) -> None:
    vm.answers(
        "docker pull", '[ -f "$HOME/late" ] || { touch "$HOME/late"; echo "TLS handshake timeout" >&2; exit 1; }'
    )
    assert ended(script)["stage"] == "up"
    assert len(vm.calls("docker pull")) == 2


def test_one_that_fails_again_and_again_is_the_hosts(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker pull", "echo 'error: lookup registry-1.docker.io: no such host' >&2; exit 1")
    said = "it cannot pull the image: error: lookup registry-1.docker.io: no such host"
    assert ended(script) == failed("host", said)
    assert len(vm.calls("docker pull")) == 4


@pytest.mark.parametrize(
    "said",
    [
        "Error response from daemon: manifest for vllm/vllm-openai:v9 not found: manifest unknown: manifest unknown",
        "Error response from daemon: pull access denied for vllm/nope, repository does not exist or may require login",
        "Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list entries",
        "Error: no match for platform in manifest: not found",
        'failed to resolve reference "docker.io/vllm/vllm-openai:v9": docker.io/vllm/vllm-openai:v9: not found',
    ],
)
def test_an_image_that_there_is_not_is_the_requests_fault_and_not_asked_for_again(
    script: ModuleType, vm: Vm, said: str
) -> None:
    vm.answers("docker pull", f"echo '{said}' >&2; exit 1")
    message = f"its registry does not have the image, or does not give it to us: {said}"
    assert ended(script) == failed("request", message)
    assert len(vm.calls("docker pull")) == 1


def test_a_full_disk_is_the_hosts_failure(script: ModuleType, vm: Vm) -> None:
    said = "failed to register layer: write /x: no space left on device"
    vm.answers("docker pull", f"echo '{said}' >&2; exit 1")
    assert ended(script) == failed("host", f"its disk is full: {said}")
    assert len(vm.calls("docker pull")) == 1


@pytest.mark.parametrize("code", [802, 100, 999])
def test_a_gpu_on_which_cuda_does_not_work_is_the_hosts_failure(script: ModuleType, vm: Vm, code: int) -> None:
    vm.answers("docker run --rm", f"echo {code}; exit 0")
    assert ended(script) == failed("host", f"CUDA does not initialise (error {code})")


@pytest.mark.parametrize(
    "said", ['could not select device driver "" with capabilities: [[gpu]].', "unknown or invalid runtime name: nvidia"]
)
def test_a_docker_that_does_not_know_the_toolkit_is_repaired_once(script: ModuleType, vm: Vm, said: str) -> None:
    complaint = f"docker: Error response from daemon: {said}"
    vm.answers("docker run --rm", f"[ -f \"$HOME/repaired\" ] || {{ echo '{complaint}' >&2; exit 125; }}")
    assert ended(script) == failed("host", f"it cannot start a container: {complaint}")
    assert vm.calls("nvidia-ctk") == ["nvidia-ctk runtime configure --runtime=docker"]
    vm.answers("nvidia-ctk", 'touch "$HOME/repaired"')
    assert ended(script)["stage"] == "up"


@pytest.mark.parametrize(
    ("said", "whose", "message"),
    [
        ('exec: "python3": executable file not found in $PATH', "request", "the image has no such program"),
        ('exec: "nvidia-container-runtime": executable file not found in $PATH', "host", None),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0", "host", None),
        ("Bind for 127.0.0.1:8000 failed: port is already allocated.", "host", "it cannot start a container"),
        ("OSError: libcuda.so.1: cannot open shared object file", "host", "it cannot start a container"),
    ],
)
def test_a_container_that_does_not_start_says_whose_fault_it_is(
    script: ModuleType, vm: Vm, said: str, whose: str, message: str | None
) -> None:
    vm.answers("docker run --rm", f"printf '%s\\n' 'docker: Error: {said}' '' 'See docker run --help.' >&2; exit 125")
    end = ended(script)
    assert end["failed"] == whose
    assert end["detail"].endswith(f": docker: Error: {said}")
    assert message is None or end["detail"].startswith(message)


def test_a_start_leaves_a_process_behind_that_does_it_and_status_tells_how_it_ended(script: ModuleType) -> None:
    assert start(script)["at_work"] is True
    assert until_over(script)["stage"] == "up"


def test_of_two_starts_one_does_the_work(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker run -d", "sleep 0.3")
    both = [start(script, wait=False) for _ in range(2)]
    for one in both:
        one.communicate(json.dumps(PARCEL).encode())
    assert until_over(script)["stage"] == "up"
    assert len(vm.calls("docker run -d")) == 1


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_parcel_that_was_cut_off_on_its_way_begins_nothing(script: ModuleType, share: float) -> None:
    whole = json.dumps(PARCEL)
    stdout, _ = start(script, wait=False).communicate(whole[: int(len(whole) * share)].encode())
    assert json.loads(stdout) == {"at_work": False}
    start(script)
    assert until_over(script)["stage"] == "up"


def test_what_was_killed_is_done_by_the_next_start(script: ModuleType, vm: Vm) -> None:
    vm.answers("docker pull", 'echo $PPID > "$HOME/puller"; sleep 3')
    start(script)
    kill_worker(vm)
    assert told(script) == {"stage": "pull", "detail": f"pulling the image {PARCEL['image']}", "at_work": False}
    vm.answers("docker pull", "")
    start(script)
    assert until_over(script)["stage"] == "up"


def test_what_has_come_to_its_end_is_not_begun_again(script: ModuleType, vm: Vm) -> None:
    vm.answers("uname", "echo mips; exit 0")
    start(script)
    first = until_over(script)
    vm.answers("uname", "")
    assert start(script) == first


def test_it_runs_on_python_39() -> None:
    assert ast.parse(Path(shipped.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))


def start(script: ModuleType, *, wait: bool = True) -> Any:
    argv = [sys.executable, script.__file__, "start"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return json.loads(process.communicate(json.dumps(PARCEL).encode())[0]) if wait else process


def told(script: ModuleType) -> dict[str, Any]:
    return dict(json.loads(subprocess.check_output([sys.executable, script.__file__, "status"])))


def until_over(script: ModuleType) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (found := told(script))["at_work"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def kill_worker(vm: Vm) -> None:
    """The process that `start` left behind, once it pulls."""
    puller = vm.home / "puller"
    deadline = time.monotonic() + 10
    while not puller.exists() or not puller.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int(puller.read_text()), 9)
    time.sleep(0.1)
