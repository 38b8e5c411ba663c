"""The built wheel, installed somewhere else: recipes, prices and templates are in it, and it works."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import Gpu
from emulators.runpod import RunPodEmulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel. Its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (wheel,) = folder.glob("gpu_up-*.whl")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv" / "bin"
    into = ["--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, *into, wheel], check=True, capture_output=True)
    (site_packages,) = folder.glob("venv/lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return programs


def run(program: Path, *arguments: str, cwd: Path) -> str:
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=cwd, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_wheel_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import gpu_cli, gpu_providers; print(gpu_cli.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_both_programs_are_installed_and_find_the_recipes(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "gpu", "recipes", "--json", cwd=tmp_path)
    assert "smollm2-135m" in {recipe["name"] for recipe in json.loads(listed)["recipes"]}
    assert run(installed / "gpu-up", "--version", cwd=tmp_path) == run(installed / "gpu", "--version", cwd=tmp_path)
    planned = json.loads(run(installed / "gpu", "up", "smollm2-135m", "--dry-run", "--json", cwd=tmp_path))
    assert planned["candidates"][0]["offer_id"] == "local-cpu"


def test_the_prices_that_ship_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    find = "from gpu_cli.paths import shipped; print(*(file.name for file in shipped('prices').glob('*.yaml')))"
    found = run(installed / "python", "-c", find, cwd=tmp_path).split()
    assert sorted(found) == sorted(file.name for file in (ROOT / "prices").glob("*.yaml"))
    assert "cards.yaml" in found


def test_the_wheel_brings_up_a_deployment_with_its_own_templates(installed: Path, gpu: Gpu, tiny: str) -> None:
    run(installed / "gpu", "up", tiny, cwd=gpu.cwd)
    assert str(installed.parent) in " ".join(gpu.supervisor().cmdline())
    run(installed / "gpu", "down", cwd=gpu.cwd)
    assert gpu.engines() == []


def test_the_wheel_rents_a_machine_that_runs_its_own_supervisor(
    installed: Path, gpu: Gpu, cloud: RunPodEmulator, rentable: Callable[..., str]
) -> None:
    offers = json.loads(run(installed / "gpu", "offers", "--provider", "runpod", "--gpu", "L4", "--json", cwd=gpu.cwd))
    assert offers["offers"]
    assert run(installed / "gpu", "volume", "create", "v", "--size", "10", "--region", "EU-RO-1", cwd=gpu.cwd)
    up = json.loads(run(installed / "gpu", "up", rentable("L4"), "--provider", "runpod", "--json", cwd=gpu.cwd))
    assert {"supervisor", "guard"} == {stop["by"] for stop in up["stops"] if stop["armed"]}
    run(installed / "gpu", "down", cwd=gpu.cwd)
    assert [one["name"] for one in cloud.bill()["resources"] if one["alive"]] == ["v"]
