"""An engine's figures at one time, and what two readings say of the time between them."""

from dataclasses import astuple, dataclass

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.gauges.exposition import Samples


@dataclass(frozen=True)
class Reading:
    """What `/metrics` says at one time. Counters begin at 0 with the engine; None for what it does not count."""

    at: float
    """Seconds since the epoch, UTC."""
    running: float
    """Requests that it works on."""
    waiting: float
    """Requests in its queue."""
    input_tokens: float
    """Counter."""
    output_tokens: float
    """Counter."""
    kv_cache_used: float | None = None
    """0 to 1; the mean of its engines where there are several."""
    prefix_queries: float | None = None
    """Counter of tokens that were looked for in the prefix cache."""
    prefix_hits: float | None = None
    """Counter of those that were found."""
    preemptions: float | None = None
    """Counter of requests that lost their place in the KV cache to others."""


@dataclass(frozen=True)
class GpuMemory:
    """Of all cards of a node together, whoever uses it."""

    used_gib: float
    total_gib: float


@dataclass(frozen=True)
class Gauges:
    """One deployment as it was just looked at. None is what is not known, which is never the same as 0.

    Of one that is not ready nothing is known, nor of what scales to zero: asking it would wake a worker, or keep one.
    """

    deployment: Deployment
    at: float
    """When it was looked at: seconds since the epoch, UTC."""
    running: int | None = None
    """Requests that the engine works on."""
    waiting: int | None = None
    """Requests in its queue."""
    input_tokens_per_s: float | None = None
    """Since the look before; None with the first one, and after a restart of the engine."""
    output_tokens_per_s: float | None = None
    """As `input_tokens_per_s`."""
    kv_cache_used: float | None = None
    """0 to 1."""
    prefix_cache_hits: float | None = None
    """0 to 1: of the tokens of prompts since the look before; None when there were none."""
    preemptions: int | None = None
    """Since the engine started."""
    gpu_memory_used_gib: float | None = None
    """Of all its cards together."""
    gpu_memory_total_gib: float | None = None
    problem: str = ""
    """Why its engine has not told, one line; empty when it has, or was not asked."""
    reading: Reading | None = None
    """The counters themselves; None when it has not told."""


def reading_of(samples: Samples, at: float) -> Reading:
    """Raises BadMetrics for what is no vLLM's, which always counts its requests and tokens.

    Names are those of vLLM 0.32. Three had `gpu_` in them before 0.10, and came beside the new ones until 0.12
    (vllm-project/vllm, pull requests 18354 and 29330).
    """
    return Reading(
        at,
        running=samples.needed("vllm:num_requests_running"),
        waiting=samples.needed("vllm:num_requests_waiting"),
        input_tokens=samples.needed("vllm:prompt_tokens_total"),
        output_tokens=samples.needed("vllm:generation_tokens_total"),
        kv_cache_used=samples.mean("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        prefix_queries=samples.total("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        prefix_hits=samples.total("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        preemptions=samples.total("vllm:num_preemptions_total"),
    )


def gauges_of(
    deployment: Deployment, before: Reading | None, reading: Reading, memory: GpuMemory | None = None
) -> Gauges:
    """What this reading says, with the one before."""
    gain = _gain(before, reading) if before else None
    return Gauges(
        deployment,
        reading.at,
        running=int(reading.running),
        waiting=int(reading.waiting),
        input_tokens_per_s=gain.input_tokens / gain.seconds if gain else None,
        output_tokens_per_s=gain.output_tokens / gain.seconds if gain else None,
        kv_cache_used=reading.kv_cache_used,
        prefix_cache_hits=gain.prefix_hits / gain.prefix_queries if gain and gain.prefix_queries else None,
        preemptions=None if reading.preemptions is None else int(reading.preemptions),
        gpu_memory_used_gib=memory.used_gib if memory else None,
        gpu_memory_total_gib=memory.total_gib if memory else None,
        reading=reading,
    )


@dataclass(frozen=True)
class _Gain:
    """What was counted between two readings."""

    seconds: float
    input_tokens: float
    output_tokens: float
    prefix_queries: float
    prefix_hits: float


def _gain(before: Reading, reading: Reading) -> _Gain | None:
    """None where no time has passed, and where a counter has fallen: its engine has started anew."""
    gain = _Gain(
        reading.at - before.at,
        reading.input_tokens - before.input_tokens,
        reading.output_tokens - before.output_tokens,
        (reading.prefix_queries or 0.0) - (before.prefix_queries or 0.0),
        (reading.prefix_hits or 0.0) - (before.prefix_hits or 0.0),
    )
    return None if gain.seconds <= 0 or min(astuple(gain)) < 0 else gain
