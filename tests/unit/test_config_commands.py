"""`gpu config`, as typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gpu_cli.commands.config import config_app
from gpu_cli.config.keys import KEYS
from gpu_cli.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("GPU_HOME", str(tmp_path))
    for key in KEYS.values():
        monkeypatch.delenv(key.variable, raising=False)
    return tmp_path


def config(*arguments: str) -> Result:
    return CliRunner().invoke(config_app, arguments)


def answer(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(config(*arguments, "--json").stdout)
    return document


def test_every_setting_is_listed_with_where_it_comes_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config("set", "ttl", "90m")
    config("set", "idle", "20s", "--project")
    monkeypatch.setenv("GPU_BUDGET_USD", "2.5")
    settings = {item["key"]: (item["value"], item["source"]) for item in answer()["settings"]}
    assert settings == {
        "provider": (None, "default"),
        "idle": ("20s", str(home / "project" / "gpu.config.yaml")),
        "ttl": ("1h30m", str(home / "config" / "config.yaml")),
        "start_deadline": ("1h", "default"),
        "boot_deadline": ("30m", "default"),
        "budget_usd": ("2.5", "GPU_BUDGET_USD"),
        "max_price_usd_per_hour": (None, "default"),
    }
    assert "1h30m" in config().stdout


def test_get_prints_the_value_alone() -> None:
    assert config("get", "idle").stdout == "15m\n"
    assert config("get", "budget_usd").stdout == ""


def test_set_and_unset_undo_each_other() -> None:
    assert config("set", "idle", "1h").exit_code == 0
    assert config("get", "idle").stdout == "1h\n"
    assert answer("unset", "idle")["was_set"] is True
    assert answer("unset", "idle")["was_set"] is False
    assert config("get", "idle").stdout == "15m\n"


def test_the_project_file_that_is_there_is_changed_from_below_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config("set", "idle", "20s", "--project")
    monkeypatch.chdir(home / "project" / "sub")
    config("set", "ttl", "1h", "--project")
    assert (home / "project" / "gpu.config.yaml").read_text() == "idle: 20s\nttl: 1h\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "idel", "1h"), "idel: unknown key; did you mean idle?"),
        (("get", "idel"), "idel: unknown key; did you mean idle?"),
        (("set", "idle", "soon"), "idle: 'soon' is no duration; write it as 90s, 15m, 2h, 1d or 1h30m"),
    ],
)
def test_nonsense_is_refused_and_written_nowhere(arguments: tuple[str, ...], message: str, home: Path) -> None:
    error = config(*arguments).exception
    assert isinstance(error, UserError)
    assert error.message == message
    assert not list(home.rglob("*.yaml"))


def test_a_broken_file_can_be_mended(home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.yaml").write_text("idle: soon\nttl: 2h\n")
    assert isinstance(config("get", "ttl").exception, UserError)
    assert config("set", "idle", "5m").exit_code == 0
    assert config("get", "ttl").stdout == "2h\n"


def test_a_variable_that_is_stronger_than_what_was_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_IDLE", "1m")
    assert "GPU_IDLE" in config("set", "idle", "5m").stderr


def test_path_names_the_file(home: Path) -> None:
    assert config("path").stdout == f"{home / 'config' / 'config.yaml'}\n"
    assert config("path", "--project").stdout == f"{home / 'project' / 'gpu.config.yaml'}\n"
