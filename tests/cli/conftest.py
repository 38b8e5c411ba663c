"""The program with a stand-in for vLLM: everything else is real, and an `up` takes about a second."""

import json
import socket
import sqlite3
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from driver import Gpu
from emulators.lambda_cloud import LambdaEmulator
from emulators.modal_cloud import ModalEmulator
from emulators.runpod import RunPodEmulator
from emulators.vast import VastEmulator
from rented import Kept, point_at

from gpu_cli.engine.build import EngineBuild, installation_of

STUB_ENGINE = Path(__file__).resolve().parents[1] / "stub_engine"
BUILD = EngineBuild("vllm", "0.32.0", "cpu")

WriteRecipe = Callable[..., Path]


@pytest.fixture(autouse=True)
def stub_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine environment that counts as installed, and has the stand-in as its vLLM."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a card of this machine would want the CUDA build
    root = home / "cache" / "engines" / BUILD.key
    packages = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "stub.pth").write_text(f"{STUB_ENGINE}\n")
    base = Path(sys.base_prefix)
    (root / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(base / "bin" / f"python{sysconfig.get_python_version()}")
    record = {
        "version": BUILD.version,
        "packages": installation_of(BUILD).digest,
        "python": sysconfig.get_python_version(),
        "size_gib": 0.0,
        "installed_at": "2026-01-01T00:00:00+00:00",
    }
    (root / "complete.json").write_text(json.dumps(record))


@pytest.fixture
def recipe(gpu: Gpu, tmp_path: Path) -> WriteRecipe:
    """Writes a recipe that the stand-in serves: `recipe("tiny", idle="3s", misbehaviour={"load_s": 5})`."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')

    def write(file: str = "tiny", *, misbehaviour: Mapping[str, Any] = {}, **content: Any) -> Path:
        document = {
            "model": str(weights),
            "engine": {"env": {"STUB_ENGINE": json.dumps(dict(misbehaviour))}},
            "gpu": {"cpu": True},
            "limits": {"idle": "60s", "ttl": "1h", "start_deadline": "60s"},
            **content,
        }
        path = gpu.cwd / f"{file}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def tiny(recipe: WriteRecipe) -> str:
    """A recipe that works, by its path."""
    return str(recipe("tiny"))


@pytest.fixture(scope="module")
def engine() -> str:
    """What runs in the containers of RunPod and Vast.ai: the stand-in for vLLM, unless a module says otherwise."""
    return "stub"


@pytest.fixture(scope="module")
def rented(engine: str) -> Iterator[RunPodEmulator]:
    """RunPod for all tests of a module. Tests take `cloud`.

    Its log streams say at once that there is no more for now, where the real ones leave that to be guessed.
    """
    with pytest.MonkeyPatch.context() as patch, RunPodEmulator(engine=engine) as cloud:
        patch.setattr("emulators.runpod.logs.KEEPALIVE_S", 0.1)
        yield cloud


@pytest.fixture
def cloud(rented: RunPodEmulator, monkeypatch: pytest.MonkeyPatch) -> RunPodEmulator:
    """RunPod as if nobody had used it, and the program pointed at it and impatient."""
    with rented.lock:
        rented.misbehaviour.clear()
        for pod in list(rented.pods):
            rented.pods.terminate(pod)
        for endpoint in list(rented.endpoints):
            rented.endpoints.delete(endpoint)
        rented.requests.clear()
    point_at(rented, monkeypatch)
    return rented


@pytest.fixture(scope="module")
def market(engine: str) -> Iterator[VastEmulator]:
    """Vast.ai for all tests of a module. Tests take `vast`."""
    with VastEmulator(engine=engine) as cloud:
        yield cloud


@pytest.fixture
def vast(market: VastEmulator, monkeypatch: pytest.MonkeyPatch) -> VastEmulator:
    """Vast.ai as if nobody had used it, and the program pointed at it and impatient."""
    with market.lock:
        market.misbehaviour.clear()
        for instance in list(market.instances):
            market.instances.destroy(instance)
        market.requests.clear()
    point_at(market, monkeypatch)
    return market


@pytest.fixture(scope="module")
def datacenter() -> Iterator[LambdaEmulator]:
    """Lambda for all tests of a module, with the stand-in for vLLM on its machines. Tests take `at_lambda`."""
    with LambdaEmulator(engine="stub") as cloud:
        yield cloud


@pytest.fixture
def at_lambda(datacenter: LambdaEmulator, monkeypatch: pytest.MonkeyPatch) -> LambdaEmulator:
    """Lambda as if nobody had used it, and the program pointed at it and impatient."""
    with datacenter.lock:
        datacenter.misbehaviour.clear()
        for instance in list(datacenter.instances):
            datacenter.instances.terminate(instance)
        datacenter.requests.clear()
    point_at(datacenter, monkeypatch)
    return datacenter


@pytest.fixture(scope="module")
def workspace() -> Iterator[ModalEmulator]:
    """Modal for all tests of a module, with the stand-in for vLLM in its containers. Tests take `at_modal`."""
    with ModalEmulator(engine="stub") as cloud:
        yield cloud


@pytest.fixture
def at_modal(workspace: ModalEmulator, monkeypatch: pytest.MonkeyPatch) -> ModalEmulator:
    """Modal as if nobody had used it, and the program pointed at it and impatient."""
    with workspace.lock:
        workspace.misbehaviour.clear()
        workspace.proxy_tokens.clear()
    workspace.stop_apps()
    workspace.functions.created.clear()
    point_at(workspace, monkeypatch)
    return workspace


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """One for each module that takes it."""
    world = tmp_path_factory.mktemp("kept")
    kept = Kept(Gpu(world / "gpu", world))
    yield kept
    kept.gpu.close()


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    """Anybody with an HTTP client."""
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def rentable(recipe: WriteRecipe) -> Callable[..., str]:
    """Writes a recipe whose weights a rented machine can reach: `rentable("L4", "L40S", limits={"idle": "3s"})`."""

    def write(*cards: str, **content: Any) -> str:
        return str(recipe(**{"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "gpu": {"names": [*cards]}, **content}))

    return write


@pytest.fixture
def database(home: Path) -> Callable[[str], None]:
    """Changes the record behind the program's back: `database("UPDATE ...")`. Nothing else makes hours pass."""

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(home / "state" / "gpu.db", timeout=20)) as connection:
            connection.execute(statement)
            connection.commit()

    return execute


_PLUG_IN = """
from datetime import UTC, datetime
from gpu_providers.base import Kind, Offer, Provider
from gpu_providers.errors import *

class Plugged(Provider):
    name = "plugged"
    poll_interval_s = 0.1
    def offers(self, search):
        OFFERS
        return [Offer("plugged", Kind.PROCESS, "plugged-1", "cpu", 0, 8.0, "here", 2.0, {}, datetime.now(UTC))]
    def launch(self, request):
        LAUNCH
    def why_no_offers(self, search): return ""
    def find(self, name): return None
    def describe(self, resource_id): raise NotFound(resource_id)
    def terminate(self, resource_id): pass
    def list_resources(self): return []
    def logs(self, resource_id, *, tail=None, follow=False, stop=None): return iter(())
    def check(self): return []
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a provider `plugged` at 2 USD an hour: what it does when asked for offers and to launch, as Python."""

    def install(*, offers: str = "pass", launch: str = "raise NoCapacity('sold out')", module: str = _PLUG_IN) -> None:
        folder = tmp_path / "plugins"
        information = folder / "plugged-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[gpu_providers]\nplugged = plugged:Plugged\n")
        (folder / "plugged.py").write_text(module.replace("OFFERS", offers).replace("LAUNCH", launch))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install


class Hub:
    """A model hub on loopback that answers everything with one status, once it is let go."""

    def __init__(self) -> None:
        self.status = 401
        self.go = threading.Event()
        self.go.set()
        self.asked = threading.Event()
        self.tokens: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.tokens.append(self.headers["Authorization"])
                hub.asked.set()
                hub.go.wait(60)
                self.send_error(hub.status)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Where the program looks for weights of `ORG/MODEL`."""
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server.server_port}")
    yield hub
    hub.go.set()
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
