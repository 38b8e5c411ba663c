"""What is done at a rented machine's cloud, with all that can go wrong, shows no credential and no key to anybody."""

import gc
import json
import signal
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from driver import Gpu, Ran
from emulators.cloud import Cloud
from emulators.openapi import Conformance
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from rented import point_at

Rentable = Callable[..., str]

HF_TOKEN = "hf_canary0of0a0token"
EVERYWHERE = {
    "HF_TOKEN": HF_TOKEN,
    "RUNPOD_API_KEY": "rpa_canary0of0a0key",
    "VAST_API_KEY": "cafe" * 16,
    "LAMBDA_API_KEY": "secret_canary_cafecafe",
    "MODAL_TOKEN_ID": "ak-canary0of0a0token",
    "MODAL_TOKEN_SECRET": "as-canary0of0a0secret",
    "AWS_SECRET_ACCESS_KEY": "canary/of/a/secret/of/s3",
}
"""Of clouds that are not asked, too: nothing has any business with them."""
CLOUDS: Mapping[str, tuple[Callable[[], Cloud], tuple[str, str]]] = {
    "runpod": (lambda: RunPodEmulator(engine="pretend", boot_s=0.1), ("L4", "L40S")),
    "vast": (lambda: VastEmulator(engine="pretend", boot_s=0.1), ("RTX-4090", "L40S")),
}
LOOK_S = 0.1
MEANT_TO_HOLD = ("keys", "certificates", "providers")
"""Folders of the state: their files hold keys, and nobody else can read them."""


class Onlooker:
    """Any user of this machine: looks at all command lines, again and again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    @contextmanager
    def looking(self) -> Iterator[None]:
        self._looking.start()
        yield
        self._done.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._done.wait(LOOK_S):
            for process in psutil.process_iter():
                try:
                    self.seen.add(" ".join(process.cmdline()))
                except (psutil.Error, OSError):
                    continue


@pytest.fixture(params=CLOUDS)
def at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Cloud]]:
    for name, value in EVERYWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("emulators.runpod.logs.KEEPALIVE_S", 0.05)
    monkeypatch.setattr("emulators.vast.logs.UPLOAD_S", 0.05)
    with CLOUDS[request.param][0]() as cloud:
        cloud.conformance = Conformance()  # others look at that
        point_at(cloud, monkeypatch)
        for name in ("RUNPOD", "VAST", "LAMBDA", "MODAL"):
            if name.lower() != request.param:  # nobody answers there
                url = {"MODAL": "MODAL_SERVER_URL"}.get(name, f"GPU_{name}_API_URL")
                monkeypatch.setenv(url, "http://127.0.0.1:9")
        yield request.param, cloud
    with warnings.catch_warnings():  # pretended engines leave connections to their clients
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def credentials(cloud: Cloud) -> set[str]:
    """Those that must be seen nowhere: the account's own, and all others of the environment."""
    own = {value for name, value in cloud.env.items() if name.endswith(("_KEY", "_SECRET", "TOKEN_ID"))}
    return own | set(EVERYWHERE.values())


def test_no_secret_is_seen_whatever_happens_at_a_cloud(
    gpu: Gpu, at: tuple[str, Cloud], rentable: Rentable, tmp_path: Path
) -> None:
    provider, cloud = at
    cards = CLOUDS[provider][1]
    recipe, onlooker = rentable(*cards), Onlooker()
    runs: list[Ran] = []
    keys: set[str] = set()

    def run(*arguments: str, env: Mapping[str, str] = {}) -> Ran:
        runs.append(gpu(*arguments, env=env))
        keys.update(_keys(gpu.home))
        return runs[-1]

    up = ("up", recipe, "--provider", provider)
    with closing(Gpu(tmp_path / "elsewhere", gpu.cwd)) as elsewhere, onlooker.looking():
        assert run(*up, "--json").exit == 0, runs[-1].stderr
        run("plan", recipe, "--provider", provider, "--save", str(tmp_path / "offers.json"))
        for told in ("ls", "ls --remote --json", "logs", "doctor", "cost", "history --json", "gc --dry-run --json"):
            run(*told.split())
        run("adopt", "--all", env={"GPU_HOME": str(elsewhere.home)})
        cloud.misbehave({"do": "server-error", "call": "create", "times": 1})
        run(*up, "--name", "troubled", "--debug", "--attempts", "1")
        _race(provider, run, up)
        _interrupted(gpu, cloud, runs, up)
        assert run("down", "--all").exit == 0, runs[-1].stderr
    assert keys, "there was nothing to be seen"
    secrets = credentials(cloud) | keys
    assert not [line for line in onlooker.seen if _holds(line, secrets)]
    assert not [run for run in runs if _holds(run.stdout + run.stderr, secrets)]
    assert not [path for path in _files(gpu.home, tmp_path) if _is_leak(path, secrets)]
    asked = [f"{request.path}?{request.raw_query}" for request in cloud.requests]
    assert asked
    assert not [line for line in asked if _holds(line, secrets)]


def _race(provider: str, run: Callable[..., Ran], up: tuple[str, ...]) -> None:
    if provider == "vast":  # at others it is the same code, and takes as long again
        run(*up, "--name", "raced", "--race", "2", "--json")


def _interrupted(gpu: Gpu, cloud: Cloud, runs: list[Ran], up: tuple[str, ...]) -> None:
    cloud.misbehave({"do": "server-error", "call": "create"})
    running = gpu.start(*up, "--name", "hasty", "--retry-until-up", "--debug", env={"GPU_RETRY_PAUSE_S": "0.2"})
    with suppress(subprocess.TimeoutExpired):
        running.process.wait(1.5)
    running.signal(signal.SIGINT)
    runs.append(running.result())
    with cloud.lock:
        cloud.misbehaviour.clear()


def test_an_onlooker_sees_a_secret_in_a_command_line() -> None:
    """So that the test above can fail."""
    onlooker, shown = Onlooker(), "of_no_other_test"  # whoever looks meanwhile, beside this test, is to see no canary
    with onlooker.looking():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", shown], check=True)
    assert [line for line in onlooker.seen if _holds(line, {shown})]


def test_a_secret_in_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"token: {HF_TOKEN}")
    kept = tmp_path / "keys" / "gpu-a"
    kept.parent.mkdir()
    kept.write_text(HF_TOKEN)
    kept.chmod(0o644)
    assert [path.name for path in _files(tmp_path) if _is_leak(path, {HF_TOKEN})] == ["gpu-a", "log"]
    kept.chmod(0o600)
    assert [path.name for path in _files(tmp_path) if _is_leak(path, {HF_TOKEN})] == ["log"]


def _keys(home: Path) -> set[str]:
    """Of the deployments, as this side keeps them."""
    return {path.read_text().strip() for path in (home / "state" / "keys").glob("*") if path.is_file()}


def _holds(text: str, secrets: set[str]) -> bool:
    return any(secret in text or json.dumps(secret)[1:-1] in text for secret in secrets if secret)


def _files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def _is_leak(path: Path, secrets: set[str]) -> bool:
    if not _holds(path.read_bytes().decode(errors="replace"), secrets):
        return False
    private = stat.S_IMODE(path.stat().st_mode) == 0o600
    return not (private and any(folder in path.parts for folder in MEANT_TO_HOLD))
