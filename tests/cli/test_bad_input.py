"""What a user gets wrong is told with where it is and what would be right; nothing is started."""

from pathlib import Path

import pytest
from conftest import WriteRecipe
from driver import Gpu


def test_a_missing_recipe_offers_the_closest_names(gpu: Gpu) -> None:
    up = gpu("up", "smollm2-153m", "--json")
    assert up.exit == 2
    assert "smollm2-135m" in up.error["message"] + up.error["hint"]


def test_a_missing_file_is_named(gpu: Gpu) -> None:
    up = gpu("up", "./nowhere.yaml")
    assert up.exit == 2
    assert "nowhere.yaml" in up.stderr


def test_no_recipe_and_no_gpu_yaml_says_what_to_give(gpu: Gpu) -> None:
    up = gpu("up")
    assert up.exit == 2
    assert "gpu.yaml" in up.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("context: lots", ["context"]),
        ("concurency: 8", ["concurency", "concurrency"]),
        ("limits: {idle: soon}", ["idle"]),
        ("providers: {lokal: {}}", ["lokal", "local"]),
        ("engine: {args: [--api-key=x]}", ["--api-key"]),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_line(gpu: Gpu, tmp_path: Path, line: str, told: list[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"model: org/model\n{line}\n")
    up = gpu("up", str(path))
    assert up.exit == 2
    assert f"{path}:2" in up.stderr
    for word in told:
        assert word in up.stderr


def test_an_unknown_provider_is_refused(gpu: Gpu, tiny: str) -> None:
    up = gpu("up", tiny, "--provider", "lokal", "--json")
    assert (up.exit, up.error["code"]) == (2, "unknown-provider")
    assert "local" in up.error["hint"]


def test_an_option_that_the_provider_does_not_know_is_refused(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(providers={"local": {"prot": 8000}})), "--json")
    assert up.exit == 2
    assert "'prot'" in up.error["message"]
    assert "'port'" in up.error["hint"]


@pytest.mark.parametrize(
    "flags", [["--idle", "soon"], ["--budget", "lots"], ["--ttl", "-1s"], ["--start-deadline", ""]]
)
def test_a_limit_that_makes_no_sense_is_refused(gpu: Gpu, tiny: str, flags: list[str]) -> None:
    up = gpu("up", tiny, *flags, "--json")
    assert up.exit == 2, up.stderr
    assert flags[0].strip("-").replace("-", "_") in (up.error["message"] + up.error["hint"]).replace("-", "_")


def test_weights_that_are_not_there_are_told_place_by_place(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(model="/no/such/folder", weights=["/no/such/folder", "/nor/this"])), "--json")
    assert (up.exit, up.error["code"]) == (5, "no-weights")
    for place in ("/no/such/folder", "/nor/this"):
        assert f"{place}: not found" in up.error["message"]
    assert gpu.state_of("tiny") == "failed"
