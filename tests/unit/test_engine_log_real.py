"""Causes of death in what vLLM 0.32 really printed, shortened to the lines around its errors."""

from pathlib import Path

import pytest

from gpu_cli.fleet.launch.engine_log import diagnose

LOGS = Path(__file__).with_name("data") / "engine_logs"

CAUSES = {
    "context_beyond_the_model": ("context-too-long", "made for 8192 tokens of context, and the recipe asks for 100000"),
    "context_beyond_the_kv_cache": ("context-too-long", "100000 tokens does not fit into the KV cache; 46464 would"),
    "no_memory_for_kv_cache": ("out-of-memory", "no memory is left for the KV cache"),
    "kv_cache_beyond_memory": ("out-of-memory", "less memory than the 1000.0 GiB that the KV cache"),
    "unknown_architecture": ("unknown-architecture", "FooForCausalLM"),
    "unknown_model_type": ("unknown-architecture", "models of type foobar"),
    "gated": ("gated", "its hub refused this account"),
    "port_taken": ("port-taken", "its port is taken"),
    "unknown_flag": ("bad-engine-args", "unrecognized arguments: --no-such-flag"),
    "bad_value": ("bad-engine-args", "--max-num-seqs: invalid int value: 'abc'"),
    "utilization_above_one": ("bad-engine-args", "gpu_memory_utilization: Input should be less than or equal to 1"),
    "unknown_tool_parser": ("bad-engine-args", "no tool-call parser called nosuch"),
    "unknown_reasoning_parser": ("bad-engine-args", "no reasoning parser called nosuch"),
    "unknown_quantization": ("bad-engine-args", "Unknown quantization method: nosuch"),
    "unsupported_quantization": ("bad-engine-args", "Cannot find the config file for awq"),
    "truncated_weights": ("engine-error", "SafetensorError: Error while deserializing header"),
    "no_weights": ("engine-error", "Cannot find any model weights"),
    "wrong_shapes": ("engine-error", "The size of tensor a (640) must match the size of tensor b (576)"),
    "no_tokenizer": ("engine-error", "Couldn't instantiate the backend tokenizer"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_told_in_one_short_line(name: str) -> None:
    found = diagnose((LOGS / f"{name}.txt").read_text().splitlines())
    code, said = CAUSES[name]
    assert found is not None
    assert found.code == code
    assert said in found.message
    assert "\n" not in found.message
    assert len(found.message) <= 300


@pytest.mark.parametrize("name", CAUSES)
def test_there_is_always_something_to_do(name: str) -> None:
    found = diagnose((LOGS / f"{name}.txt").read_text().splitlines())
    assert found is not None
    assert found.hint
    assert "{" not in found.hint


def test_every_log_has_its_cause() -> None:
    assert {path.stem for path in LOGS.iterdir()} == set(CAUSES)


def test_the_context_that_would_fit_is_in_the_hint() -> None:
    found = diagnose((LOGS / "context_beyond_the_kv_cache.txt").read_text().splitlines())
    assert found is not None
    assert "`context: 46464` or less" in found.hint
