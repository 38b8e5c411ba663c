"""The program with a stand-in for vLLM: everything else is real, and an `up` takes about a second."""

import json
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Gpu

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

    def write(name: str = "tiny", *, misbehaviour: Mapping[str, Any] = {}, **content: Any) -> Path:
        document = {
            "model": str(weights),
            "engine": {"env": {"STUB_ENGINE": json.dumps(dict(misbehaviour))}},
            "gpu": {"cpu": True},
            "limits": {"idle": "60s", "ttl": "1h", "start_deadline": "60s"},
            **content,
        }
        path = gpu.cwd / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def tiny(recipe: WriteRecipe) -> str:
    """A recipe that works, by its path."""
    return str(recipe("tiny"))
