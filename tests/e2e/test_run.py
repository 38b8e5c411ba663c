"""`gpu run`: a command with a real endpoint of its own, on an engine and weights that are there already."""

import json
import re
import sys
from pathlib import Path

import pytest
from driver import Gpu, Ran
from served import QUESTION, RECIPE, assert_nothing_is_left, port_of

pytestmark = pytest.mark.engine

IDLE_S = 10.0
LONG_REQUEST_S = IDLE_S + 5.0
ASK = f"""
import os, time, openai
client = openai.OpenAI(max_retries=0)
model = os.environ["OPENAI_MODEL"]

began = time.monotonic()
stream = client.completions.create(
    model=model, prompt="Once", max_tokens=8000, stream=True, extra_body={{"ignore_eos": True}})
with stream:
    for _ in stream:
        if time.monotonic() - began > {LONG_REQUEST_S}:
            break
assert time.monotonic() - began > {LONG_REQUEST_S}, "the answer was over too soon to prove anything"

answer = client.chat.completions.create(
    model=model, messages=[{{"role": "user", "content": "{QUESTION}"}}], max_tokens=20, temperature=0)
print(client.base_url)
print(answer.choices[0].message.content)
raise SystemExit(7)
"""
"""A request that takes longer than the deployment may be idle, and then another one."""


def test_run_gives_a_command_an_endpoint_for_longer_than_it_may_be_idle_and_ends_with_its_status(
    gpu: Gpu, home: Path, weights: Path
) -> None:
    before = kept(home)
    ran = gpu("run", RECIPE, "--idle", f"{IDLE_S:.0f}s", "--", sys.executable, "-c", ASK)
    assert ran.exit == 7, ran.stderr
    base_url, answer = ran.stdout.strip().split("\n", 1)
    assert "Paris" in answer
    assert "is gone; it cost $0" in ran.stderr
    assert_nothing_is_left(gpu, port_of(base_url))
    assert [(one["state"], one["reason"]) for one in gpu.ls()] == [("gone", "its command ended")]
    assert kept(home) == before
    assert seconds_of(ran, "install") + seconds_of(ran, "weights") < 3


def kept(home: Path) -> dict[str, int]:
    """When the engine and the weights were made."""
    cache = (home / "cache").resolve()
    found = [*cache.glob("engines/*/complete.json"), *cache.glob("weights/index/*.json")]
    weights = [Path(json.loads(path.read_text())["path"]) for path in found if path.parent.name == "index"]
    found += [path for folder in weights for path in folder.iterdir()]
    assert weights
    return {str(path): path.stat().st_mtime_ns for path in found}


def seconds_of(ran: Ran, stage: str) -> float:
    found = re.search(rf"^{stage} +([\d.]+) s$", ran.stderr, re.MULTILINE)
    assert found, ran.stderr
    return float(found[1])
