"""The program with the real vLLM and a small model. A start takes half a minute: the tests of a file share a home."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Gpu
from served import RECIPE

from gpu_cli.engine.environment import Engine
from gpu_cli.paths import shipped
from gpu_cli.recipe.files import load_recipe
from gpu_cli.ui.progress import Silent
from gpu_cli.weights.fetch import fetch

PATIENCE_S = 300.0
"""For one run of `gpu`, on a machine that has other things to do."""
IN_ONE_PROCESS_LESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""On a CPU vLLM computes in a process of its own, to tie its threads to cores. That one imports vLLM once more, which
is a quarter of what a start takes. The main job, and who looks at processes, `has_all_processes`.
"""
_OF_THE_USER = ("AWS_", "GPU_", "HF_", "LAMBDA_", "MODAL_", "OPENAI_", "RUNPOD_", "VAST_", "VLLM_")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, real_engine_cache: Path, real_engine: Engine) -> Iterator[Path]:
    """The GPU_HOME of a file's tests, with the engine and the weights that outlive them; no cloud's key is in reach."""
    folder, user = tmp_path_factory.mktemp("gpu-home"), tmp_path_factory.mktemp("user")
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    (folder / "cache").symlink_to(real_engine_cache, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OF_THE_USER)]:
            patch.delenv(name)
        patch.setenv("HOME", str(user))
        patch.setenv("XDG_CACHE_HOME", caches)
        patch.setenv("VLLM_CACHE_ROOT", f"{caches}/vllm")  # what the engine has learnt of the model saves ten seconds
        for name, value in IN_ONE_PROCESS_LESS.items():
            patch.setenv(name, value)
        patch.setenv("GPU_HOME", str(folder))
        patch.setenv("NO_COLOR", "1")
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # the same engine everywhere
        patch.setattr("driver.PATIENCE_S", PATIENCE_S)
        yield folder


@pytest.fixture(scope="module")
def has_all_processes(home: Path) -> Iterator[None]:
    """The engine, as users have it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in IN_ONE_PROCESS_LESS:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def gpu(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpu]:
    """The program. The file fails when it leaves a process that `gpu down --all` does not end."""
    driver = Gpu(home, tmp_path_factory.mktemp("work"))
    yield driver
    if left := driver.close():
        pytest.fail(f"processes were left: {left}")


@pytest.fixture(scope="session")
def weights(real_engine_cache: Path, real_engine: Engine) -> Path:
    """The small model's folder, fetched on first use into where `gpu up` looks for it."""
    recipe = load_recipe(shipped("recipes") / f"{RECIPE}.yaml")
    places = {"engine": real_engine, "cache": real_engine_cache, "environ": os.environ}
    return fetch(recipe.weights, revision=recipe.revision, progress=Silent(), **places).path
