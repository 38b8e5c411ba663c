"""Starts that the real engine refuses: one line says why, the log is kept, and nothing runs on.

A context beyond the KV cache, which takes a whole start to find out, is refused in the tests of RunPod.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Gpu
from served import left_of

pytestmark = pytest.mark.engine


def variant(weights: Path, folder: Path, changes: Mapping[str, Any]) -> Path:
    """The small model with another configuration."""
    folder.mkdir()
    for file in weights.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((weights / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    ("model", "recipe", "code", "said"),
    [
        ({}, {"context": 100_000}, "context-too-long", "made for 8192 tokens of context"),
        ({"architectures": ["NoSuchForCausalLM"]}, {}, "unknown-architecture", "NoSuchForCausalLM"),
        ({}, {"engine": {"args": ["--no-such-flag"]}}, "bad-engine-args", "--no-such-flag"),
    ],
    ids=["context beyond the model", "unknown architecture", "unknown flag"],
)
def test_a_start_that_fails_says_why_and_leaves_only_its_log(
    gpu: Gpu, weights: Path, tmp_path: Path, model: Mapping[str, Any], recipe: Mapping[str, Any], code: str, said: str
) -> None:
    engine = {"args": ["--enforce-eager"], "env": {"VLLM_CPU_KVCACHE_SPACE": "1"}, **recipe.get("engine", {})}
    document = {
        "model": str(variant(weights, tmp_path / "model", model)),
        "gpu": {"cpu": True},
        **recipe,
        "engine": engine,
    }
    path = tmp_path / "refused.yaml"
    path.write_text(yaml.safe_dump(document))
    up = gpu("up", str(path), "--json")
    assert up.exit == 6, up.stderr
    assert up.error["code"] == code
    assert said in up.error["message"]
    log = Path(up.error["hint"].rpartition("log: ")[2])
    assert "vllm" in log.read_text()
    assert left_of(gpu) == []
    assert gpu.ls()[0]["state"] == "failed"
    assert gpu.ls()[0]["reason"].startswith(code)
