"""What the README shows works as it stands there."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from conftest import WriteRecipe
from driver import Gpu

from gpu_cli.compare.price_files import load_catalogue, user_file
from gpu_cli.config.keys import KEYS
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths
from gpu_cli.recipe.files import parse_recipe

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SHOWN = re.findall(r"<!-- run by tests/cli/test_readme.py -->\n```(\w+)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def smollm(gpu: Gpu, recipe: WriteRecipe, home: Path) -> None:
    """The README's recipe, with the stand-in for vLLM; `gpu` is on the PATH."""
    written = recipe("smollm2-135m")
    folder = home / "config" / "recipes"
    folder.mkdir(parents=True)
    written.rename(folder / written.name)


def blocks(language: str) -> Sequence[str]:
    return [text for shown, text in SHOWN if shown == language]


def run(gpu: Gpu, *command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(command, cwd=gpu.cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_shell_pipelines_run(gpu: Gpu, smollm: None) -> None:
    assert len(blocks("sh")) == 2
    for script in blocks("sh"):
        run(gpu, "sh", "-c", script)
    assert (gpu.cwd / "base_url.txt").read_text().rstrip().endswith("/v1")
    assert all((gpu.cwd / f"{word}.txt").read_text().strip() for word in ("alpha", "beta", "gamma"))
    assert "smollm2-135m" in (gpu.cwd / "models.json").read_text()
    assert gpu.engines() == []


def test_the_makefile_target_runs(gpu: Gpu, smollm: None) -> None:
    (makefile,) = blocks("make")
    (gpu.cwd / "Makefile").write_text(makefile)
    (gpu.cwd / "questions.txt").write_text("Who are you?\nWhat is two and two?\n")
    run(gpu, "make", "answers.txt")
    assert len((gpu.cwd / "answers.txt").read_text().splitlines()) == 2
    assert gpu.engines() == []


def test_the_recipe_with_all_fields_is_a_recipe(tmp_path: Path) -> None:
    *_, text = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    recipe = parse_recipe(text, tmp_path / "shown.yaml", shown="README.md")
    document = recipe.model_dump(by_alias=True)
    told = yaml.safe_load(text)
    assert set(told) == set(document), "every field is shown"
    assert all(set(told[part]) == set(document[part]) for part in ("engine", "gpu", "limits"))


def test_the_prices_of_the_users_own_that_are_shown_are_prices(tmp_path: Path) -> None:
    text, _ = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    paths = Paths(tmp_path, tmp_path, tmp_path)
    user_file(paths).write_text(text)
    prices = load_catalogue(paths).prices
    assert "ours" in prices.apis
    assert "openrouter" not in prices.apis
    assert prices.cards["H100"].usd == yaml.safe_load(text)["cards"]["H100"]["usd"]


def test_every_exit_status_and_every_setting_is_documented() -> None:
    assert {int(status) for status in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == {int(one) for one in Exit}
    for key in KEYS.values():
        assert f"| `{key.name}` | `{key.flag}` | `{key.variable}` |" in README
