"""The program with the real vLLM and a small model. A start takes half a minute, so the tests of a file share a home."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from driver import Gpu, Ran

from gpu_cli.engine.environment import Engine

RECIPE = "smollm2-135m"
PATIENCE_S = 300.0
"""For one run of `gpu`, on a machine that has other things to do."""
_OF_THE_USER = ("GPU_", "HF_", "OPENAI_", "VLLM_", "CUDA_VISIBLE_DEVICES")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, real_engine_cache: Path, real_engine: Engine) -> Iterator[Path]:
    """The GPU_HOME of a file's tests, with the engine and the weights that outlive them."""
    folder = tmp_path_factory.mktemp("gpu-home")
    (folder / "cache").symlink_to(real_engine_cache, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(lambda name: name.startswith(_OF_THE_USER), list(os.environ)):
            patch.delenv(name)
        patch.setenv("GPU_HOME", str(folder))
        patch.setenv("NO_COLOR", "1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # the same engine everywhere
        patch.setattr("driver.PATIENCE_S", PATIENCE_S)
        yield folder


@pytest.fixture(scope="module")
def gpu(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpu]:
    """The program. The file fails when it leaves a process that `gpu down --all` does not end."""
    driver = Gpu(home, tmp_path_factory.mktemp("work"))
    yield driver
    if left := driver.close():
        pytest.fail(f"processes were left: {left}")


@pytest.fixture(scope="module")
def weights(gpu: Gpu, real_engine_cache: Path) -> Path:
    """The small model's folder on this machine; fetched now if no test has needed it before."""
    if not list(real_engine_cache.glob("weights/*/**/model.safetensors")):
        brought_up(gpu)
        assert gpu("down").exit == 0
    return next(real_engine_cache.glob("weights/*/**/model.safetensors")).parent


def brought_up(gpu: Gpu, *flags: str) -> Ran:
    """`gpu up` of the small model, which has to work."""
    up = gpu("up", RECIPE, *flags)
    assert up.exit == 0, up.stderr
    return up


def openai_client(gpu: Gpu) -> openai.OpenAI:
    """For the only deployment, with its key."""
    variables = gpu("env", "--json").json
    return openai.OpenAI(
        base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"], max_retries=0, timeout=PATIENCE_S
    )


def port_is_free(port: int) -> bool:
    """Whether a server could be started on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
