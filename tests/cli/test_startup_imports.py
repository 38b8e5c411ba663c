"""What `gpu --help` and `gpu ls` may import: they have to be instant, in a shell prompt too."""

import subprocess
import sys

import pytest
from driver import Gpu

HEAVY = {
    "asyncio",
    "boto3",
    "cryptography",
    "gpu_cli.fleet.away.deploy",
    "gpu_cli.recipe.schema",
    "httpx",
    "huggingface_hub",
    "matplotlib",
    "modal",
    "openai",
    "paramiko",
    "plotext",
    "prometheus_client",
    "psutil",
    "pydantic",
    "rich",
    "ssl",
    "textual",
    "yaml",
}


OF_CLOUDS = {"boto3", "gpu_providers.http", "gpu_providers.runpod.client", "httpx"}
NOT_OF_FIT = HEAVY - {"gpu_cli.recipe.schema", "pydantic"} | {"gpu_cli.fleet.fleet", "gpu_cli.fleet.market.market"}
"""A model that is known already takes neither a recipe's file, nor a hub, nor a cloud."""


def imported_by(*arguments: str) -> set[str]:
    return imported_by_python("-m", "gpu_cli", *arguments)


def imported_by_python(*arguments: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["ls"], ["ls", "--json"], ["recipes", "--help"]])
def test_nothing_heavy_is_imported_when_nothing_runs(arguments: list[str]) -> None:
    imported = imported_by(*arguments)
    assert "typer" in imported
    assert sorted(imported & HEAVY) == []


def test_help_knows_nothing_of_clouds_nor_of_a_record() -> None:
    unused = {"gpu_cli.fleet.deployment", "gpu_providers.base", "sqlite3", "statistics"}
    assert sorted(imported_by("--help") & unused) == []


def test_what_runs_on_this_machine_is_listed_without_anything_of_a_cloud(gpu: Gpu, tiny: str) -> None:
    assert gpu("up", tiny).exit == 0
    imported = imported_by("ls")
    assert "gpu_providers.local.client" in imported
    assert sorted(imported & OF_CLOUDS) == []
    assert sorted(imported_by("url", "tiny") & HEAVY) == []
    gpu("down")


def test_a_fit_imports_nothing_that_it_does_not_need() -> None:
    imported = imported_by("fit", "Qwen/Qwen3-8B", "--gpu", "H100", "--json")
    assert "gpu_cli.planner.memory" in imported
    assert sorted(imported & NOT_OF_FIT) == []


def test_the_guard_begins_with_nothing_heavy_and_nothing_of_the_command_line() -> None:
    assert sorted(imported_by_python("-c", "import gpu_cli.fleet.guard.run") & (HEAVY | {"typer"})) == []


def test_the_http_library_comes_without_what_nobody_uses_of_it() -> None:
    imported = imported_by_python("-c", "import gpu_cli, httpx, httpcore")
    assert sorted(imported & {"click", "h2", "pygments", "rich"}) == []
