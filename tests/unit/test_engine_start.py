"""How a node gets its weights and becomes the engine: real processes, the hub on loopback and a stub engine."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hub_emulator import HubEmulator, Repository, running_hub

import engine_start
from gpu_cli.fleet.certificates import Certificates, pinned_context
from gpu_cli.fleet.launch.engine_log import Milestone, diagnose, milestone
from gpu_cli.fleet.node.node import packed_node, template

KEY, TOKEN = "sk-secret", "hf-secret"
PATIENCE_S = 20.0
STUB_ENGINE = Path(__file__).parents[1] / "stub_engine"
FILES = ("config.json", "tokenizer.json", "model.safetensors")


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.02)


def model_folder(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files or FILES:
        (folder / name).write_text("{}")
    return folder


def cached_model(home: Path, *files: str, commit: str = "abc", ref: str = "main") -> Path:
    """As a volume is filled beforehand: plain files, no blobs."""
    repository = home / "huggingface" / "hub" / "models--org--model"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return model_folder(repository / "snapshots" / commit, *files)


class Node:
    """A container: the real bootstrap, supervisor and engine_start, and the stub as its engine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environ = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(STUB_ENGINE),
            "PYTHONUNBUFFERED": "1",
            "HF_HOME": str(home / "huggingface"),
            "VLLM_API_KEY": KEY,
            "HF_TOKEN": TOKEN,
            "AWS_SECRET_ACCESS_KEY": TOKEN,
            "GPU_NODE": packed_node(),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.certificates = Certificates(home / "certificates")
        self.tls: ssl.SSLContext | None = None

    def give_certificate(self) -> None:
        """As `gpu up` does for a bare port on the internet."""
        self.environ["GPU_TLS"] = self.certificates.create("gpu-test", time.time() + 3600).reveal()
        self.tls = pinned_context(self.certificates.path("gpu-test"))

    def start(self, *sources: tuple[str, str], revision: str | None = None, gpu_count: int = 1) -> None:
        weights = {"sources": sources, "revision": revision, "folder": "weights"}
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        args = ["--model", "{weights}", "--served-model-name", "m", *where, "--max-num-seqs", "2"]
        args += ["--middleware", "guard_middleware.GuardMiddleware", "--disable-access-log-for-endpoints", "/health"]
        args += ["--ssl-certfile", "{tls}", "--ssl-keyfile", "{tls}"] if self.tls else []
        vllm = ["python3", "-m", "vllm.entrypoints.openai.api_server", *args]
        supervisor: dict[str, Any] = {
            "version": 1,
            "name": "gpu-test",
            "engine": ["python3", "engine_start.py", str(gpu_count), *vllm],
            "port": self.port,
            "scheme": "https" if self.tls else "http",
            **dict.fromkeys(("idle_s", "deadline_s", "start_deadline_s", "hung_s"), 60),
            "state_dir": "supervisor",
            "tick_s": 0.05,
        }
        documents = {"GPU_WEIGHTS": json.dumps(weights), "GPU_SUPERVISOR": json.dumps(supervisor)}
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", template("bootstrap.py")]
            self.process = subprocess.Popen(
                command, env={**self.environ, **documents}, stdout=log, stderr=log, start_new_session=True
            )

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def ask(self, path: str, key: str = KEY) -> Any:
        root = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        request = urllib.request.Request(f"{root}{path}", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=5, context=self.tls) as answer:
            return json.loads(answer.read())

    def serves(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.lines()
        try:
            return bool(self.ask("/v1/models"))
        except OSError:
            return False

    def children(self) -> list[psutil.Process]:
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True)

    def ended(self) -> int:
        assert self.process
        return self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    if node.process and node.process.poll() is None:
        node.process.terminate()
        node.ended()
    log = node.log.read_text()
    assert KEY not in log
    assert TOKEN not in log
    assert "PRIVATE KEY" not in log


@pytest.fixture
def hub() -> Iterator[HubEmulator]:
    with running_hub() as hub:
        yield hub


# --- the whole way ---------------------------------------------------------------------------------------------------


def test_weights_of_a_volume_are_served_without_asking_the_hub(node: Node, hub: HubEmulator) -> None:
    snapshot = cached_model(node.home)
    node.environ["HF_ENDPOINT"] = hub.url
    node.start(("hf", "org/model"))
    eventually(node.serves, "the engine")
    assert hub.requests == []
    assert "[weights] hf://org/model: on the disk already" in node.lines()
    assert any(f"model='{snapshot}'" in line for line in node.lines())
    assert node.ask("/_gpu/supervisor")["name"] == "gpu-test"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        node.ask("/v1/models", key="wrong")


def test_the_engine_has_no_credential_for_weights_and_no_module_of_ours_in_its_way(node: Node) -> None:
    cached_model(node.home)
    node.start(("hf", "org/model"))
    eventually(node.serves, "the engine")
    (engine,) = node.children()
    environ = engine.environ()
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GPU_NODE", "GPU_WEIGHTS", "GPU_SUPERVISOR"} & set(environ)
    assert environ["HF_HUB_OFFLINE"] == "1"
    searched = [Path(engine.cwd()), *map(Path, environ["PYTHONPATH"].split(os.pathsep))]
    assert [path for path in searched if (path / "supervisor.py").exists()] == []


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_the_engine_serves_with_the_certificate_that_it_was_given_and_its_supervisor_watches_it(node: Node) -> None:
    cached_model(node.home)
    node.give_certificate()
    node.start(("hf", "org/model"))
    eventually(node.serves, "the engine")
    eventually(lambda: node.ask("/_gpu/supervisor")["phase"] == "serving", "the supervisor's own look at the engine")
    node.certificates.create("gpu-other", time.time() + 3600)
    node.tls = pinned_context(node.certificates.path("gpu-other"))
    with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
        node.ask("/v1/models")


def test_the_private_key_is_in_a_file_of_its_owners_and_not_in_what_the_engine_is_told(node: Node) -> None:
    cached_model(node.home)
    node.give_certificate()
    node.start(("hf", "org/model"))
    eventually(node.serves, "the engine")
    (engine,) = node.children()
    kept = Path(engine.cmdline()[engine.cmdline().index("--ssl-keyfile") + 1])
    assert kept.read_text() == node.environ["GPU_TLS"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in json.dumps([engine.cmdline(), engine.environ()])


def test_the_fetcher_never_sees_the_private_key(node: Node, hub: HubEmulator) -> None:
    hub.silent_s = 30
    node.environ["HF_ENDPOINT"] = hub.url
    node.give_certificate()
    node.start(("hf", "org/model"))
    eventually(lambda: hub.requests, "the hub's question")
    fetcher = next(child for child in node.children() if "fetcher.py" in " ".join(child.cmdline()))
    assert "GPU_TLS" not in fetcher.environ()


def test_what_is_private_is_written_once_and_replaced_when_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "tls.pem"
    path.write_text("cut o")
    path.chmod(0o644)
    assert engine_start.keep_private("whole", path) == path
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("whole", 0o600)
    written_at = path.stat().st_mtime_ns
    engine_start.keep_private("whole", path)
    assert path.stat().st_mtime_ns == written_at


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_gated_model_ends_the_node_with_what_to_do(node: Node, hub: HubEmulator) -> None:
    hub.accepted_token = "another"
    hub.repositories["org/model"] = Repository({})
    node.environ["HF_ENDPOINT"] = hub.url
    node.start(("path", "/nowhere"), ("hf", "org/model"))
    assert node.ended() == 1
    found = diagnose(node.lines())
    assert found
    assert found.code == "gated"
    assert "hf://org/model: access was refused" in found.message
    assert "HF_TOKEN" in found.hint
    assert not any("Traceback" in line for line in node.lines())


def test_a_signal_ends_a_download_at_once(node: Node, hub: HubEmulator) -> None:
    hub.silent_s = 30
    node.environ["HF_ENDPOINT"] = hub.url
    node.start(("hf", "org/model"))
    eventually(lambda: hub.requests, "the hub's question")
    left = node.children()
    assert len(left) == 2
    assert node.process
    node.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert node.ended() == 0
    assert time.monotonic() - began < 15
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)


# --- what lies there already -----------------------------------------------------------------------------------------


def snapshot_of(home: Path, revision: str | None = None) -> Path | None:
    return engine_start.hub_snapshot("org/model", revision, {"HF_HOME": str(home / "huggingface")})


def test_a_revision_is_a_branch_that_the_cache_knows_or_a_commit(tmp_path: Path) -> None:
    main, dev = cached_model(tmp_path), cached_model(tmp_path, commit="def", ref="dev")
    assert snapshot_of(tmp_path) == main
    assert snapshot_of(tmp_path, "dev") == dev
    assert snapshot_of(tmp_path, "abc") == main
    assert snapshot_of(tmp_path, "v2") is None
    assert snapshot_of(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (FILES, ""),
        (("config.json", "model.safetensors"), "a tokenizer"),
        (("tokenizer.json", "model.safetensors"), "config.json"),
        (("config.json", "tokenizer.json"), "weights"),
    ],
)
def test_a_snapshot_that_is_not_whole_is_not_used(tmp_path: Path, files: tuple[str, ...], missing: str) -> None:
    snapshot = cached_model(tmp_path, *files)
    assert engine_start.missing_of(snapshot) == missing
    environ = {"HF_HOME": str(tmp_path / "huggingface")}
    there = engine_start.there_already("hf", "org/model", None, environ)
    assert there == (None if missing else snapshot)


def test_a_model_in_parts_is_whole_with_the_last_of_them(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", "config.json", "tokenizer.json", "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert engine_start.missing_of(model) == "b.safetensors"
    (model / "b.safetensors").write_text("")
    assert engine_start.missing_of(model) == ""


# --- what is told ----------------------------------------------------------------------------------------------------


def progress(text: str, done: int = 0, total: int = 0) -> bytes:
    return json.dumps({"event": "progress", "text": text, "bytes": done, "total": total}).encode()


def test_progress_is_told_with_every_step_and_then_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(engine_start.time, "monotonic", lambda: next(seconds))
    downloading = [progress("downloading", megabytes * 10**6, 70_000 * 10**6) for megabytes in range(12)]
    list(engine_start.told([progress("asking the hub"), *downloading], "hf://o/m"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "[weights] hf://o/m: asking the hub",
        "[weights] hf://o/m: downloading 0 of 70000 MB",
        "[weights] hf://o/m: downloading 5 of 70000 MB",
        "[weights] hf://o/m: downloading 10 of 70000 MB",
    ]
    assert milestone(["", lines[-1]]) == Milestone("weights", "hf://o/m: downloading 10 of 70000 MB")


def test_a_download_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 300.0, 600.0, 601.0])
    monkeypatch.setattr(engine_start.time, "monotonic", lambda: next(now))
    told = engine_start.told([progress("downloading", 1, 2)] * 4, "x")
    with pytest.raises(engine_start.NoWeights, match="no progress for 600 s") as given_up:
        list(told)
    assert given_up.value.kind == "unreachable"


# --- several GPUs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu_count", "shared_mib", "variables"),
    [(1, 64, {}), (2, 64, {"NCCL_SHM_DISABLE": "1"}), (8, 1023, {"NCCL_SHM_DISABLE": "1"}), (8, 1024, {})],
)
def test_nccl_goes_without_shared_memory_where_a_container_has_too_little(
    gpu_count: int, shared_mib: int, variables: dict[str, str]
) -> None:
    assert engine_start.container_limits(gpu_count, shared_mib * 2**20) == variables
    assert engine_start.container_limits(gpu_count, None) == {}
