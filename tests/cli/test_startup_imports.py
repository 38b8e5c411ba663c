"""What `gpu --help` and `gpu ls` may import: they have to be instant, in a shell prompt too."""

import subprocess
import sys

import pytest

HEAVY = {
    "boto3",
    "gpu_cli.recipe.schema",
    "httpx",
    "huggingface_hub",
    "modal",
    "paramiko",
    "psutil",
    "pydantic",
    "rich",
    "yaml",
}


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["ls"], ["ls", "--json"], ["recipes", "--help"]])
def test_nothing_heavy_is_imported_when_nothing_runs(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gpu_cli", *arguments], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in imported
    assert sorted(name for name in imported if name in HEAVY) == []
