"""The text that goes into `python3 -c`, as it travels, in a real process."""

import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from gpu_cli.fleet.node.node import template
from gpu_cli.fleet.node.slim import slimmed

SUPERVISOR = "import json, os; print(json.dumps({'cwd': os.getcwd(), 'environ': sorted(os.environ)}))"
FILES = {"supervisor.py": SUPERVISOR, "engine/beside.py": "BESIDE = 'ü'\n"}


def packed(files: dict[str, str]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(files).encode())).decode()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "tmp"


def boot(home: Path, elsewhere: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    text = slimmed(template("bootstrap.py")).replace("/tmp/gpu-node", str(elsewhere))
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "GPU_NODE": packed(files), "GPU_SUPERVISOR": "{}"}
    return subprocess.run([sys.executable, "-c", text], env=environ, capture_output=True, text=True, check=False)


def test_the_supervisor_runs_in_the_nodes_folder_and_the_package_is_gone(tmp_path: Path, elsewhere: Path) -> None:
    seen = json.loads(boot(tmp_path, elsewhere, FILES).stdout)
    folder = tmp_path / ".gpu" / "node"
    assert seen["cwd"] == str(folder)
    assert "GPU_SUPERVISOR" in seen["environ"]
    assert "GPU_NODE" not in seen["environ"]
    assert (folder / "engine" / "beside.py").read_text(encoding="utf-8") == FILES["engine/beside.py"]


def test_a_restart_finds_its_files_and_writes_none(tmp_path: Path, elsewhere: Path) -> None:
    boot(tmp_path, elsewhere, FILES)
    folder = tmp_path / ".gpu" / "node"
    (folder / "supervisor").mkdir()
    record = folder / "supervisor" / "supervisor.json"
    record.write_text("kept")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.py")}
    assert json.loads(boot(tmp_path, elsewhere, FILES).stdout)["cwd"] == str(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.py")} == before
    assert record.read_text() == "kept"


def test_a_file_that_was_cut_off_is_written_again(tmp_path: Path, elsewhere: Path) -> None:
    boot(tmp_path, elsewhere, FILES)
    cut = tmp_path / ".gpu" / "node" / "supervisor.py"
    cut.write_text("import js")
    assert json.loads(boot(tmp_path, elsewhere, FILES).stdout)["cwd"] == str(cut.parent)


def test_where_home_takes_no_files_another_folder_does(tmp_path: Path, elsewhere: Path) -> None:
    home = tmp_path / "home"
    home.write_text("no folder")
    said, seen = boot(home, elsewhere, FILES).stdout.splitlines()
    assert said.startswith("[bootstrap] ")
    assert json.loads(seen)["cwd"] == str(elsewhere)


def test_where_nothing_can_be_written_it_says_so_and_fails(tmp_path: Path, elsewhere: Path) -> None:
    for place in (tmp_path / "home", elsewhere):
        place.write_text("no folder")
    ended = boot(tmp_path / "home", elsewhere, FILES)
    assert ended.returncode == 1
    assert ended.stderr == "[bootstrap] no folder can be written\n"
