"""Benchmarks as they might have come out."""

from dataclasses import replace
from typing import Any

from fleets import NOW

from gpu_cli.bench.result import BenchRun, Level, Load, Spread, Subject

SUBJECT = Subject(
    name="tiny",
    resource_name="gpu-tiny-1",
    recipe="tiny",
    recipe_digest="digest",
    model="org/model",
    quantization="",
    provider="cloud",
    region="eu",
    gpu="H100",
    gpu_count=1,
    engine_version="0.32.0",
    engine_args=("--max-model-len", "8192"),
    price_usd_per_hour=3.6,
)
LOAD = Load(1024, 256, "", streaming=True, duration_s=30.0)


def level(concurrency: int = 1, tokens_per_s: float = 100.0, **changes: Any) -> Level:
    """Ten seconds of it; by Little's law a request of 256 tokens takes as long as it has to."""
    latency_s = concurrency * 256 / tokens_per_s
    made = Level(
        concurrency=concurrency,
        rate_per_s=None,
        seconds=10.0,
        requests=max(1, round(tokens_per_s * 10 / 256)),
        errors={},
        input_tokens=round(tokens_per_s * 40),
        output_tokens=round(tokens_per_s * 10),
        time_to_first_token_s=Spread(0.1, 0.2, 0.3),
        inter_token_latency_s=Spread(0.01, 0.02, 0.03),
        latency_s=Spread(latency_s, 1.1 * latency_s, 1.2 * latency_s),
    )
    return replace(made, **changes)


def run(*levels: Level, at: float = NOW, **subject: Any) -> BenchRun:
    """A benchmark with these levels."""
    return BenchRun(at, replace(SUBJECT, **subject), LOAD, levels, "aiperf 0.13.0")
