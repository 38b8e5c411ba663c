"""Which saying of a setting holds, and what happens to those that make no sense."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_cli.config.files import project_file, read_config, set_value, unset_value, user_file
from gpu_cli.config.keys import BUDGET_USD, IDLE, KEYS, MAX_PRICE, PROVIDER, TTL
from gpu_cli.config.settings import Limits, Settings, resolve_limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths
from gpu_cli.recipe.files import parse_recipe
from gpu_cli.recipe.schema import Recipe


def paths_in(folder: Path) -> Paths:
    return Paths(folder / "config", folder / "state", folder / "cache")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    return Settings.load(paths_in(folder), folder / "project", environ or {})


def recipe_with(limits: str) -> Recipe:
    return parse_recipe(f"model: A/B\nlimits: {limits}\n", Path("/r.yaml"), shown="r.yaml")


def test_the_defaults_are_those_of_the_readme(tmp_path: Path) -> None:
    assert resolve_limits(load(tmp_path), None, {}) == Limits(
        idle_s=900,
        ttl_s=86_400,
        start_deadline_s=3600,
        boot_deadline_s=1800,
        budget_usd=None,
        max_price_usd_per_hour=None,
    )
    setting = load(tmp_path).resolve(PROVIDER)
    assert (setting.value, setting.source) == (None, "default")


LAYERS = ("flag", "environment", "recipe", "project", "user")
VALUES = st.fixed_dictionaries({}, optional={layer: st.integers(1, 10**6) for layer in LAYERS})


@given(
    VALUES, st.sampled_from(["idle", "ttl", "start_deadline", "boot_deadline", "budget_usd", "max_price_usd_per_hour"])
)
def test_the_strongest_saying_holds_and_is_named(said: dict[str, int], name: str) -> None:
    key: Any = KEYS[name]
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        sources = {"flag": "flag", "environment": key.variable, "recipe": "recipe"}
        files = {"project": folder / "project" / "gpu.config.yaml", "user": user_file(paths_in(folder))}
        for layer, file in files.items():
            sources[layer] = str(file)
            if layer in said:
                write(file, f"{name}: {said[layer]}\n")
        settings = load(folder, {key.variable: str(said["environment"])} if "environment" in said else {})
        recipe = recipe_with(f"{{{name}: {said['recipe']}}}" if "recipe" in said else "")
        setting = settings.resolve(key, flag=str(said["flag"]) if "flag" in said else None, recipe=recipe)
    strongest = next((layer for layer in LAYERS if layer in said), None)
    expected = (said[strongest], sources[strongest]) if strongest else (key.default, "default")
    assert (setting.value, setting.source) == expected


def test_limits_are_gathered_from_all_sides(tmp_path: Path) -> None:
    write(user_file(paths_in(tmp_path)), "budget_usd: 7\nttl: 2h\n")
    settings = load(tmp_path, {"GPU_MAX_PRICE_USD_PER_HOUR": "1.5"})
    recipe = recipe_with("{idle: 1m, ttl: 3h}")
    limits = resolve_limits(settings, recipe, {"start_deadline": "20s", "boot_deadline": "90s", "idle": None})
    assert limits == Limits(
        idle_s=60, ttl_s=10_800, start_deadline_s=20, boot_deadline_s=90, budget_usd=7, max_price_usd_per_hour=1.5
    )


def test_the_nearest_project_file_holds_for_the_folders_below_it(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    write(tmp_path / "gpu.config.yaml", "idle: 1m\n")
    near = write(tmp_path / "a" / "gpu.config.yaml", "ttl: 2h\n")
    assert project_file(deep) == near
    settings = Settings.load(paths_in(tmp_path), deep, {})
    assert settings.resolve(TTL).source == str(near)
    assert settings.resolve(IDLE).source == "default"


def test_a_variable_set_to_nothing_is_not_set(tmp_path: Path) -> None:
    assert load(tmp_path, {"GPU_IDLE": ""}).resolve(IDLE).source == "default"


def error_of(folder: Path, environ: Mapping[str, str] | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        load(folder, environ)
    assert (caught.value.exit_status, caught.value.code) == (Exit.BAD_INPUT, "bad-config")
    return caught.value


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path, {"GPU_TTL": "soon"}).message.startswith("GPU_TTL: 'soon' is no duration")


def test_a_bad_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--budget: 'five' is no amount of money") as caught:
        load(tmp_path).resolve(BUDGET_USD, flag="five")
    assert (caught.value.exit_status, caught.value.code) == (Exit.BAD_INPUT, "usage")


def test_everything_wrong_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(user_file(paths_in(tmp_path)), "ttl: 1h\nidel: 5m\nbudget_usd: -1\nprovider: 7\nidle: true\n")
    message = error_of(tmp_path).message
    assert message.startswith(
        f"{file}:2: idel: unknown key; did you mean idle?; {file}:3: budget_usd: -1 must be above"
    )
    assert f"{file}:4: provider: 7 is no provider's name" in message
    assert f"{file}:5: idle: true is no duration" in message


@pytest.mark.parametrize("text", ["idle: [", "- idle\n", "idle: 1m\nidle: 2m\n", "\xff"])
def test_a_file_that_is_no_settings_file_is_named(text: str, tmp_path: Path) -> None:
    file = user_file(paths_in(tmp_path))
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    assert error_of(tmp_path).message.startswith(str(file))


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "idle:\n"])
def test_an_empty_file_and_an_empty_key_say_nothing(text: str, tmp_path: Path) -> None:
    write(user_file(paths_in(tmp_path)), text)
    assert load(tmp_path).resolve(IDLE).source == "default"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("idle", "90s"),
        ("ttl", "1d"),
        ("budget_usd", "5"),
        ("max_price_usd_per_hour", "0.000001"),
        ("provider", "local"),
    ],
)
def test_a_value_that_is_set_is_read_back(name: str, text: str, tmp_path: Path) -> None:
    file, key = tmp_path / "config.yaml", KEYS[name]
    set_value(file, key, key.parse(text))
    assert read_config(file) == {name: key.parse(text)}


def test_setting_keeps_the_other_keys_even_wrong_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", "idel: [no, 010]\nttl: 1h\n")
    set_value(file, BUDGET_USD, 5.0)
    set_value(file, TTL, 7200.0)
    assert file.read_text() == "idel:\n- 'no'\n- '010'\nttl: 2h\nbudget_usd: 5\n"


def test_unsetting_says_whether_it_was_set(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", "idle: 1m\nttl: 1h\n")
    assert unset_value(file, IDLE)
    assert not unset_value(file, IDLE)
    assert file.read_text() == "ttl: 1h\n"
    assert unset_value(file, TTL)
    assert read_config(file) == {}


def test_unsetting_where_there_is_no_file_makes_none(tmp_path: Path) -> None:
    assert not unset_value(tmp_path / "config.yaml", MAX_PRICE)
    assert not list(tmp_path.iterdir())
