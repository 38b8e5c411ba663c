"""Sets up the machine that it is on, and starts there what is to run. Sent over SSH; nothing of this side runs it.

One file, standard library only, Python 3.9 or newer. It keeps to its own folder, and uses `sudo -n` for whatever needs
root:

    on_machine.py start < PARCEL    begin, or begin again what came to nothing; then as `status`
    on_machine.py status            print how far it has come, one line of JSON
    on_machine.py run               all the work; `start` starts it, detached

A status has the fields

    stage       a word; `up` and `failed` are the last ones
    detail      the same for people
    at_work     whether a process of this machine works on it
    port        of `up`: where the container's port is published
    failed      of `failed`: whose fault it is: `host`, `request`, or `command`, which has ended

Every step can be done again: whatever kills this, or the machine, `start` goes on with what is left to do. A container
that exists is never started anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
STATUS, PARCEL, ENV_FILE, LOCK, LOG = (
    HERE / name for name in ("status.json", "parcel.json", "container.env", "lock", "set_up.log")
)

FINAL = ("up", "failed")
CONTAINER = "gpu-engine"
DAEMON_JSON = "/etc/docker/daemon.json"
CGROUPFS = "native.cgroupdriver=cgroupfs"

CLOUD_INIT_S, DRIVER_S, DOCKER_S = 600.0, 180.0, 120.0
"""How long each may take to come up after the boot."""
POLL_S = 2.0
COMMAND_S = 300.0
"""How long any command may take, other than a pull."""
PULL_PAUSES_S = (5.0, 15.0, 45.0)
"""Before each further attempt."""

CUDA_DRIVERS = (((13, 0), 580), ((12, 9), 575), ((12, 8), 570), ((12, 6), 560), ((12, 4), 550))
"""The drivers that came with releases of CUDA (release notes of the CUDA Toolkit), newest first."""
CU_INIT = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"

LAYER = re.compile(r"([0-9a-f]{12}): (.+)")
NO_IMAGE = re.compile(
    r"manifest unknown|\bnot found|pull access denied|\bdenied: |unauthorized|repository does not exist"
    r"|invalid reference format|no match(?:ing manifest)? for",
    re.IGNORECASE,
)
NO_CONTAINER = re.compile(r"no such (object|container)", re.IGNORECASE)
NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)
NO_TOOLKIT = re.compile(r"could not select device driver|unknown or invalid runtime name", re.IGNORECASE)
RUN_ERRORS = (
    (NO_SPACE, "host", "its disk is full"),
    (re.compile(r"nvidia\S* executable file not found", re.IGNORECASE), "host", "it has no NVIDIA container runtime"),
    (re.compile(r"executable file not found", re.IGNORECASE), "request", "the image has no such program"),
    (re.compile(r"unsatisfied condition|requirement error"), "host", "its driver is too old for the image"),
    (re.compile(""), "host", "it cannot start a container"),
)
"""The first row that matches counts."""
SUDO_REFUSAL = re.compile(r"sudo: .*(is required|must have a tty|command not found)|.*not in the sudoers|Sorry, user")
COMPLAINT = re.compile(r"error|denied|fail|cannot|no space", re.IGNORECASE)
LONGEST_LINE = 300
TEXT: Any = {"encoding": "utf-8", "errors": "replace"}

Ran = subprocess.CompletedProcess[str]


class Failed(Exception):
    """Nothing more is to be tried. The text holds nothing secret."""

    def __init__(self, whose: str, message: str) -> None:
        super().__init__(message)
        self.whose = whose


def main(what: str) -> None:
    if what == "run":
        run()
        return
    if what == "start":
        start(sys.stdin.read())
    at_work = is_at_work()  # before the status: what is at its end by then has said so
    sys.stdout.write(json.dumps({**status(), "at_work": at_work}))


def start(parcel: str) -> None:
    """Have it done by a process that outlives this connection. Ubuntu lets such go on: KillUserProcesses=no.

    A parcel whose end was lost with the connection begins nothing.
    """
    lock = locked() if is_whole(parcel) else None
    if lock is None or status().get("stage") in FINAL:
        return
    with lock:
        write(PARCEL, parcel)
        tell("start", "its set-up begins")
        with LOG.open("a", encoding="utf-8") as log:
            subprocess.Popen(
                [sys.executable, __file__, "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],  # locked as long as it lives
                env={**os.environ, "LC_ALL": "C"},
            )


def is_whole(parcel: str) -> bool:
    try:
        return isinstance(json.loads(parcel), dict)
    except ValueError:
        return False


def run() -> None:
    """Do it, and leave behind how it ended, but nothing secret."""
    try:
        port = set_up(json.loads(PARCEL.read_text(encoding="utf-8")))
        end: dict[str, Any] = {"stage": "up", "detail": "the container runs", "port": port}
    except Failed as failure:
        end = {"stage": "failed", "detail": str(failure), "failed": failure.whose}
    except Exception as error:  # noqa: BLE001 - nobody else would tell
        said = f"its set-up broke off: {type(error).__name__}: {error}"
        end = {"stage": "failed", "detail": said, "failed": "host"}
    for path in (PARCEL, ENV_FILE):
        path.unlink(missing_ok=True)
    if end["stage"] == "failed":
        say(f"failed: {end['detail']}")
    tell(**end)


def set_up(parcel: dict[str, Any]) -> int:
    """All steps; the port at which the container is published. Raises Failed."""
    await_cloud_init()
    check_architecture(parcel["architecture"])
    driver = await_gpus(parcel["gpu_count"])
    await_docker()
    if container_state() in ("missing", "created"):
        use_cgroupfs()
        image = image_for(driver, parcel)
        pull(image)
        try_cuda(image)
        start_container(image, parcel)
    return published_port(parcel["port"])


def await_cloud_init() -> None:
    """It may still change users, keys and packages. What it failed at does not matter if all else works."""
    step("boot", "waiting for cloud-init")
    is_busy = re.compile(r"^status: (running|not run|not started)", re.MULTILINE)
    awaited(["cloud-init", "status"], lambda ran: not is_busy.search(ran.stdout), CLOUD_INIT_S)


def check_architecture(wanted: str) -> None:
    found = command("uname", "-m").stdout.strip().replace("aarch64", "arm64")
    if found != wanted:
        raise Failed("host", f"it has {found} processors, not {wanted} as offered")


def await_gpus(count: int) -> str:
    """The version of their driver, which may take a while to load."""
    step("driver", "waiting for the GPU driver")
    query = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    ran = awaited(query, lambda ran: ran.returncode == 0 and len(ran.stdout.splitlines()) >= count, DRIVER_S)
    if ran.returncode:
        raise Failed("host", f"its GPU driver does not answer: {told(ran)}")
    rows = ran.stdout.splitlines()
    if len(rows) < count:
        raise Failed("host", f"it has {len(rows)} of {count} GPUs")
    say(f"{len(rows)} GPUs (driver, name, memory): {rows[0]}")
    return rows[0].split(",")[0].strip()


def await_docker() -> None:
    step("docker", "waiting for Docker")
    ran = awaited(["sudo", "-n", "docker", "version"], lambda ran: ran.returncode == 0, DOCKER_S)
    if ran.returncode:
        raise Failed("host", f"its Docker does not answer: {told(ran)}")


def container_state() -> str:
    """In Docker's words, or `missing`."""
    ran = as_root("docker", "inspect", "-f", "{{.State.Status}}", CONTAINER)
    if ran.returncode and not NO_CONTAINER.search(ran.stderr):
        raise Failed("host", f"its Docker does not tell what runs: {told(ran)}")
    return "missing" if ran.returncode else ran.stdout.strip()


def use_cgroupfs() -> None:
    """With systemd in charge of cgroups, a reload of it takes the GPUs from a container that runs
    (NVIDIA/nvidia-container-toolkit#48). Docker is restarted, and with it any container."""
    if as_root("docker", "info", "-f", "{{.CgroupDriver}}").stdout.strip() == "cgroupfs":
        return
    settings = daemon_settings()
    others = [option for option in settings.get("exec-opts", []) if not option.startswith("native.cgroupdriver=")]
    settings["exec-opts"] = [*others, CGROUPFS]
    as_root("mkdir", "-p", str(Path(DAEMON_JSON).parent))  # not every package of Docker makes it
    ran = as_root("tee", DAEMON_JSON, stdin=json.dumps(settings, indent=4) + "\n")
    if ran.returncode:
        raise Failed("host", f"its Docker cannot be configured: {told(ran)}")
    restart_docker("so that a reload of systemd cannot take the GPUs away")


def daemon_settings() -> dict[str, Any]:
    """Empty where there is no such file, or one that Docker could not read either."""
    try:
        found = json.loads(as_root("cat", DAEMON_JSON).stdout)
    except ValueError:
        return {}
    return dict(found) if isinstance(found, dict) else {}


def restart_docker(why: str) -> None:
    step("docker", f"restarting Docker, {why}")
    ran = as_root("systemctl", "restart", "docker")
    if ran.returncode:
        raise Failed("host", f"its Docker does not start again: {told(ran)}")
    await_docker()


def image_for(driver: str, parcel: dict[str, Any]) -> str:
    """The image, or its older build for a driver that is too old for it."""
    needed = needed_driver(parcel["min_cuda_version"])
    if int(re.sub(r"\D.*", "", driver) or 0) >= needed:
        return str(parcel["image"])
    if not parcel["older_image"]:
        version = parcel["min_cuda_version"]
        raise Failed("host", f"its driver {driver} is too old for CUDA {version}, which needs {needed}")
    return str(parcel["older_image"])


def needed_driver(cuda_version: str) -> int:
    """Of a release that is newer than any here, what the newest needs: the trial in a container decides."""
    wanted = tuple(int(number) for number in re.findall(r"\d+", cuda_version)[:2])
    return next((driver for release, driver in CUDA_DRIVERS if wanted >= release), 0)


def pull(image: str) -> None:
    """Raises Failed for an image that there is not, at once, and when the network has failed several times."""
    if as_root("docker", "image", "inspect", image).returncode == 0:
        return
    step("pull", f"pulling the image {image}")
    for pause_s in (0.0, *PULL_PAUSES_S):
        time.sleep(pause_s)
        ran = pulled(image)
        if ran.returncode == 0:
            return
        say(f"the pull has failed: {told(ran)}")
        if NO_SPACE.search(ran.stderr):
            raise Failed("host", f"its disk is full: {told(ran)}")
        if NO_IMAGE.search(ran.stderr):
            raise Failed("request", f"its registry does not have the image, or does not give it to us: {told(ran)}")
    raise Failed("host", f"it cannot pull the image: {told(ran)}")


def pulled(image: str) -> Ran:
    """One attempt, which may take long: it moves as long as layers change their state."""
    argv = ["sudo", "-n", "docker", "pull", image]
    layers: dict[str, str] = {}
    others = []
    nothing = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **TEXT) as process:
        for line in process.stdout or ():
            layer = LAYER.fullmatch(line.strip())
            if layer:
                layers[layer[1]] = layer[2]
                tell("pull", pulling(list(layers.values())))
            else:
                others.append(line)
    return Ran(argv, process.returncode, "", "".join(others))


def pulling(layers: list[str]) -> str:
    """For people, given the state of each layer."""
    done = sum(state in ("Pull complete", "Already exists") for state in layers)
    arrived = sum(state == "Download complete" for state in layers)
    return f"pulling the image: {done} of {len(layers)} layers" + (f", {arrived} more downloaded" if arrived else "")


def try_cuda(image: str) -> None:
    """Drivers answer on machines where CUDA does not work: error 802 on seven of eight H100 that were tried in 2026."""
    step("cuda", "trying CUDA in a container")
    argv = ["docker", "run", "--rm", "--gpus", "all", "--entrypoint", "python3", image, "-c", CU_INIT]
    ran = as_root(*argv)
    if ran.returncode and NO_TOOLKIT.search(ran.stderr):
        as_root("nvidia-ctk", "runtime", "configure", "--runtime=docker")
        restart_docker("with NVIDIA's container runtime")
        ran = as_root(*argv)
    code = ran.stdout.strip().rpartition("\n")[2]
    if ran.returncode or not code.isdigit():
        raise run_failure(ran)
    if code != "0":
        raise Failed("host", f"CUDA does not initialise (error {code})")


def start_container(image: str, parcel: dict[str, Any]) -> None:
    step("start", "starting the container")
    as_root("docker", "rm", CONTAINER)  # one that was made but never started; without -f it can be no other
    write(ENV_FILE, "".join(f"{name}={value}\n" for name, value in parcel["env"].items()))
    ran = as_root("docker", "run", "-d", *container_flags(parcel), image, *arguments(parcel))
    ENV_FILE.unlink()
    if ran.returncode:
        raise run_failure(ran)


def container_flags(parcel: dict[str, Any]) -> list[str]:
    """No restart policy: what has ended has done so for good."""
    port, volume, entrypoint = parcel["port"], parcel["volume"], parcel["entrypoint"]
    return [
        *("--name", CONTAINER, "--gpus", "all", "--ipc=host", "--env-file", str(ENV_FILE)),
        *("-p", f"{parcel['publish']}:{port}:{port}"),
        *(flag for name, value in parcel["labels"].items() for flag in ("--label", f"{name}={value}")),
        *(("-v", f"{volume}:{volume}") if volume else ()),
        *(("--entrypoint", entrypoint[0]) if entrypoint else ()),
    ]


def arguments(parcel: dict[str, Any]) -> list[str]:
    return [*parcel["entrypoint"][1:], *parcel["command"]]


def published_port(port: int) -> int:
    """Raises Failed when there is none, because the container has ended."""
    ran = as_root("docker", "port", CONTAINER, f"{port}/tcp")
    found = re.search(r":(\d+)\s*$", ran.stdout, re.MULTILINE)
    if found and container_state() == "running":
        return int(found[1])
    ended = as_root("docker", "inspect", "-f", "{{.State.ExitCode}}", CONTAINER)
    if ended.returncode:
        raise Failed("host", f"its container is gone: {told(ended)}")
    raise Failed("command", f"its command has ended with exit status {ended.stdout.strip()}")


def run_failure(ran: Ran) -> Failed:
    """Why a container did not run."""
    whose, message = next((whose, message) for pattern, whose, message in RUN_ERRORS if pattern.search(ran.stderr))
    return Failed(whose, f"{message}: {told(ran)}")


def as_root(*argv: str, stdin: str = "") -> Ran:
    return command("sudo", "-n", *argv, stdin=stdin)


def command(*argv: str, stdin: str = "") -> Ran:
    """What it did; a program that is not there has the exit status 127, as in a shell.

    Raises Failed when it does not end, and when sudo does not let us.
    """
    try:
        ran = subprocess.run(argv, input=stdin, capture_output=True, timeout=COMMAND_S, check=False, **TEXT)
    except FileNotFoundError:
        return Ran(argv, 127, "", f"{argv[0]}: not found")
    except subprocess.TimeoutExpired:
        raise Failed("host", f"a command does not come to its end on it: {' '.join(argv[:4])}") from None
    refusal = next(filter(SUDO_REFUSAL.match, ran.stderr.splitlines()), "")
    if ran.returncode and refusal:
        raise Failed("host", f"we cannot work as root on it: {refusal}")
    return ran


def awaited(argv: list[str], is_good: Callable[[Ran], bool], patience_s: float) -> Ran:
    """What this command did when it was good, or when patience came to its end."""
    deadline = time.monotonic() + patience_s
    while True:
        ran = command(*argv)
        if is_good(ran) or time.monotonic() >= deadline:
            return ran
        time.sleep(POLL_S)


def told(ran: Ran) -> str:
    """Why it failed, by its own words: the first that sound like it, or the last."""
    lines = [line.strip() for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit status {ran.returncode}"
    return next(filter(COMPLAINT.search, lines), last)[:LONGEST_LINE]


def step(stage: str, detail: str) -> None:
    """Another one begins."""
    tell(stage, detail)
    say(detail)


def say(line: str) -> None:
    """For the log."""
    sys.stdout.write(f"[set-up] {line}\n")
    sys.stdout.flush()


def tell(stage: str, detail: str, **more: Any) -> None:
    """For whoever asks how far it has come."""
    write(STATUS, json.dumps({"stage": stage, "detail": detail, **more}))


def status() -> dict[str, Any]:
    """Without a field as long as nothing was begun, and where a crash of the machine has left half of it."""
    try:
        return dict(json.loads(STATUS.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def is_at_work() -> bool:
    lock = locked()
    if lock is None:
        return True
    lock.close()
    return False


def locked() -> TextIO | None:
    """The lock of whoever does the work, until it is closed by all that have it; None when another has it."""
    lock = LOCK.open("a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def write(path: Path, text: str) -> None:
    """A reader finds the old text or the new one, and nobody but this user finds any."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1])
