"""Fixtures for all tests. Every test has a world of its own: home folder, state, no credentials, no colour."""

import gc
import os
import re
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import certifi
import platformdirs
import pytest
from aftermath import aftermath
from driver import Gpu
from hypothesis import settings

from gpu_cli.bench.generator import Generator as LoadGenerator
from gpu_cli.bench.generator import ready_generator
from gpu_cli.engine.build import build_for
from gpu_cli.engine.environment import Engine, Engines
from gpu_cli.ui.progress import Silent

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
sys.dont_write_bytecode = False  # pytest's own version of each file of tests: two thirds of the time to collect them

_OF_THE_USER = re.compile(
    r"(GPU|HF|HUGGING_FACE|AWS|RUNPOD|VAST|LAMBDA|MODAL|MODELSCOPE|OPENAI|VLLM|XDG)_.*|COLUMNS|FORCE_COLOR|LC_ALL|LANG"
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: to look through it for garbage, again and again, takes a third of the time."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure that does not come again has to explain itself."""
    report = yield
    if report.failed:
        report.sections += aftermath(getattr(item, "funcargs", {}).values())
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """At how many points something was killed, by cloud."""
    killed: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        where = re.split(r"[\[\]-]", report.nodeid)[1:2]
        killed.update({"".join(where): int(value) for name, value in report.user_properties if name == "kill points"})
    if killed:
        told = ", ".join(f"{where} {points}" for where, points in sorted(killed.items()))
        terminalreporter.write_line(f"killed at {killed.total()} points: {told}")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The GPU_HOME of this test; nothing of the user's environment decides what it sees."""
    world = tmp_path_factory.mktemp("world")
    for name in os.environ:
        if _OF_THE_USER.fullmatch(name):
            monkeypatch.delenv(name)
    (world / "user").mkdir()
    monkeypatch.setenv("HOME", str(world / "user"))
    monkeypatch.setenv("GPU_HOME", str(world / "gpu"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("GPU_NOTIFY", "0")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # compiled, as it is installed: half as long to start
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return world / "gpu"


@pytest.fixture(scope="session")
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the web's: to load all of them takes every HTTP client 50 ms."""
    one, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("web") / "one.pem"
    file.write_text(one + end)
    return file


@pytest.fixture(autouse=True)
def quick_clients(request: pytest.FixtureRequest, few_certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests with the real engine speak to the web."""
    if not request.node.get_closest_marker("engine"):
        monkeypatch.setenv("SSL_CERT_FILE", str(few_certificates))


@pytest.fixture
def gpu(home: Path, tmp_path: Path) -> Iterator[Gpu]:
    """The program. The test fails when it leaves a process that is not on record."""
    folder = tmp_path / "work"
    folder.mkdir()
    driver = Gpu(home, folder)
    yield driver
    if left := driver.close():
        pytest.fail(f"processes were left that no record knows: {left}")


@pytest.fixture(scope="session")
def real_engine_cache() -> Path:
    """A cache folder that outlives the tests, for the real engine and its weights; link it into GPU_HOME.

    GPU_TEST_CACHE says where; otherwise it is in the user's own cache.
    """
    told = os.environ.get("GPU_TEST_CACHE")
    cache = Path(told) if told else Path(platformdirs.user_cache_dir("gpu-up-tests", appauthor=False))
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def real_engine(real_engine_cache: Path) -> Engine:
    """vLLM's build for this machine's CPU, installed on first use (minutes)."""
    return Engines(real_engine_cache).ensure(build_for("0.32.0", gpu_count=0), Silent())


@pytest.fixture(scope="session")
def load_generator(real_engine_cache: Path) -> LoadGenerator:
    """The one that `gpu bench` drives, installed on first use (a minute)."""
    return ready_generator(real_engine_cache, Silent())
