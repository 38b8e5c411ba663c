"""`gpu run`: a command with a real endpoint of its own."""

import sys

import pytest
from driver import Gpu
from served import QUESTION, RECIPE, assert_nothing_is_left, port_of

pytestmark = pytest.mark.engine

ASK = f"""
import os, openai
client = openai.OpenAI()
answer = client.chat.completions.create(
    model=os.environ["OPENAI_MODEL"],
    messages=[{{"role": "user", "content": "{QUESTION}"}}], max_tokens=20, temperature=0)
print(client.base_url)
print(answer.choices[0].message.content)
raise SystemExit(7)
"""


def test_run_gives_a_command_an_endpoint_and_ends_with_its_status(gpu: Gpu) -> None:
    ran = gpu("run", RECIPE, "--", sys.executable, "-c", ASK)
    assert ran.exit == 7, ran.stderr
    base_url, answer = ran.stdout.strip().split("\n", 1)
    assert "Paris" in answer
    assert "is gone; it cost $0" in ran.stderr
    assert_nothing_is_left(gpu, port_of(base_url))
    assert [(one["state"], one["reason"]) for one in gpu.ls()] == [("gone", "its command ended")]
