"""The file that Modal's containers run: it starts the engine, and the container ends as the engine does."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_cli.paths import shipped

TEMPLATES = shipped("templates")
SERVED = "import modal_entry, time; modal_entry.serve(); print('serving', flush=True); time.sleep(60)"


def in_a_container(
    command: Sequence[str], runtime: str = SERVED, folder: Path = TEMPLATES
) -> subprocess.CompletedProcess[str]:
    """Modal's runtime does `runtime`, in Python, in the folder with the entry."""
    environ = {"GPU_COMMAND": json.dumps(command), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-c", runtime]
    return subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, timeout=50, check=False)


def test_the_container_ends_with_its_engine_and_says_so() -> None:
    ended = in_a_container([sys.executable, "-c", "import time; time.sleep(0.5); print('died'); exit(3)"])
    assert ended.returncode == 3
    assert ended.stdout.splitlines() == [
        "gpu: engine starts",
        "serving",  # while the engine runs: Modal's runtime goes on to wait for its port
        "died",
        "gpu: engine ended with status 3",
    ]


def test_an_engine_that_a_signal_ends_has_the_status_that_a_shell_would_say() -> None:
    ended = in_a_container([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert ended.returncode == 128 + 9
    assert ended.stdout.splitlines()[-1] == "gpu: engine ended with status 137"


def test_an_engine_that_is_not_there_fails_the_start() -> None:
    ended = in_a_container(["/no/such/engine"])
    assert ended.returncode != 0
    assert ended.stdout.splitlines() == ["gpu: engine starts"]
    assert "/no/such/engine" in ended.stderr


def test_the_engine_can_import_what_lies_beside_the_entry(tmp_path: Path) -> None:
    shutil.copy(TEMPLATES / "modal_entry.py", tmp_path)
    (tmp_path / "beside.py").write_text("STATUS = 7")
    engine = [sys.executable, "-P", "-c", "import beside; exit(beside.STATUS)"]
    assert in_a_container(engine, folder=tmp_path).returncode == 7


def test_what_interrupts_the_runtime_leaves_the_engine_alone() -> None:
    before = "import modal_entry, os, signal, time; os.setpgrp(); signal.signal(signal.SIGINT, lambda *_: None)"
    after = "os.killpg(0, signal.SIGINT); time.sleep(60)"
    engine = [sys.executable, "-c", "import time; time.sleep(0.5); exit(5)"]
    assert in_a_container(engine, f"{before}; modal_entry.serve(); {after}").returncode == 5


def test_the_entry_is_python_39_and_needs_nothing_but_modals_client() -> None:
    tree = ast.parse((TEMPLATES / "modal_entry.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names == {"modal"}
