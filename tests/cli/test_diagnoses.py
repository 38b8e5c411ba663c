"""A start that fails says why in one line, keeps the log and leaves nothing."""

import time
from pathlib import Path

import pytest
from conftest import WriteRecipe
from driver import Gpu

# As vLLM 0.32 words them: what can be told, what can only be quoted, what says nothing.
DEATHS = {
    "context-too-long": (
        "(EngineCore pid=2) ERROR 11-21 11:25:46 [core.py:1] ValueError: To serve at least one request with the "
        "model's max seq len (8192), (4.5 GiB KV cache is needed, which is larger than the available KV cache memory "
        "(1.0 GiB). Based on the available memory, the estimated maximum model length is 1808. Try increasing",
        "a context of 8192 tokens does not fit into the KV cache; 1808 would",
    ),
    "engine-error": ("ValueError: the moon is in the wrong quarter", "ValueError: the moon is in the wrong quarter"),
    "engine-died": ("Segmentation fault (core dumped)", "the engine ended while it was starting"),
}


@pytest.mark.parametrize("code", DEATHS)
def test_the_reason_of_a_death_is_told_in_one_line(gpu: Gpu, recipe: WriteRecipe, code: str) -> None:
    said, told = DEATHS[code]
    up = gpu("up", str(recipe(misbehaviour={"die": [said]})), "--json")
    assert (up.exit, up.error["code"]) == (6, code), up.stderr
    assert up.error["message"] == told
    log = Path(up.error["hint"].rpartition("log: ")[2])
    assert said in log.read_text()
    assert_nothing_is_left(gpu, reason=f"{code}: {told}")


@pytest.mark.parametrize(
    ("misbehaviour", "told"),
    [
        ({"serve": "another"}, "the engine does not work: it serves another instead of tiny"),
        ({"refuse": 500}, "the engine does not work: /v1/completions answered 500"),
    ],
)
def test_an_engine_that_is_up_but_does_not_work_is_not_healthy(
    gpu: Gpu, recipe: WriteRecipe, misbehaviour: dict[str, object], told: str
) -> None:
    up = gpu("up", str(recipe(misbehaviour=misbehaviour)), "--json")
    assert up.exit == 6
    assert told in up.error["message"]
    assert "Application startup complete" in gpu("logs", "tiny").stdout
    assert_nothing_is_left(gpu, reason=f"engine-died: {told}")


def test_an_engine_that_never_answers_is_given_up_at_the_start_deadline(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(misbehaviour={"silent": ["*"]})), "--start-deadline", "3s", "--json")
    assert (up.exit, up.error["code"]) == (6, "start-deadline")
    assert_nothing_is_left(gpu, reason="start-deadline")


def test_arguments_that_the_engine_refuses_are_named(gpu: Gpu, recipe: WriteRecipe) -> None:
    up = gpu("up", str(recipe(engine={"args": ["--no-such-flag"]})), "--json")
    assert (up.exit, up.error["code"]) == (6, "bad-engine-args")
    assert "--no-such-flag" in up.error["message"]


def test_metrics_that_never_answer_do_not_make_a_deployment_idle(gpu: Gpu, recipe: WriteRecipe) -> None:
    path = recipe(misbehaviour={"silent": ["/metrics"], "silent_after_s": 1.5}, limits={"idle": "3s"})
    gpu("up", str(path))
    time.sleep(5)
    assert gpu.state_of("tiny") == "ready"


def assert_nothing_is_left(gpu: Gpu, *, reason: str) -> None:
    (deployment,) = gpu.ls()
    assert deployment["state"] == "failed"
    assert deployment["reason"].startswith(reason)
    assert gpu.engines() == []
    assert gpu.processes("supervisor.py") == []
    assert not list((gpu.home / "state" / "keys").iterdir())
