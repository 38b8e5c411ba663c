"""`gpu engine`, as typed."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpu_cli.commands.engine import engine_app
from gpu_cli.errors import UserError

KEY = "vllm-0.32.0-cpu"


def engine(*arguments: str) -> Result:
    return CliRunner().invoke(engine_app, arguments)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def installed(home: Path) -> Path:
    """What an installation and an interrupted one leave, as far as the commands look at it."""
    root = home / "cache" / "engines" / KEY
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    record = {"python": "3.12.4", "size_gib": 2.318, "installed_at": "2026-05-04T10:20:30+00:00"}
    (root / "complete.json").write_text(json.dumps(record))
    (home / "cache" / "engines" / "vllm-0.32.0-cuda").mkdir()
    return root


def test_nothing_installed_is_said_to_people_and_an_empty_list_to_scripts() -> None:
    listed = engine("ls")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "no engine is installed" in listed.stderr
    assert json.loads(engine("ls", "--json").stdout) == {"version": 1, "engines": []}


def test_engines_are_listed_complete_or_not(installed: Path) -> None:
    assert json.loads(engine("ls", "--json").stdout)["engines"] == [
        {
            "key": KEY,
            "purpose": "serve",
            "complete": True,
            "size_gib": 2.318,
            "python": "3.12.4",
            "installed_at": "2026-05-04T10:20:30+00:00",
        },
        {
            "key": "vllm-0.32.0-cuda",
            "purpose": "",
            "complete": False,
            "size_gib": 0.0,
            "python": "",
            "installed_at": None,
        },
    ]
    _, first, second = engine("ls").stdout.splitlines()
    assert first.split() == [KEY, "serve", "yes", "2.3", "3.12.4", "2026-05-04", "10:20", "UTC"]
    assert second.split() == ["vllm-0.32.0-cuda", "no"]


def test_a_removed_engine_is_gone(installed: Path) -> None:
    removed = engine("rm", KEY, "--json")
    assert json.loads(removed.stdout) == {"version": 1, "removed": KEY}
    assert not installed.exists()
    assert [item["key"] for item in json.loads(engine("ls", "--json").stdout)["engines"]] == ["vllm-0.32.0-cuda"]


def test_an_unknown_engine_is_refused_with_the_ones_there_are(installed: Path) -> None:
    refused = engine("rm", "vllm")
    assert isinstance(refused.exception, UserError)
    assert KEY in refused.exception.hint
    assert installed.exists()
