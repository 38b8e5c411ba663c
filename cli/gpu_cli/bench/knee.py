"""The knee of a benchmark: the pressure beyond which requests wait more than they gain."""

from collections.abc import Sequence

from gpu_cli.bench.result import Level


def knee(levels: Sequence[Level]) -> Level | None:
    """Of levels by growing pressure, that of the greatest power; None where it was not reached.

    Power is throughput divided by response time, here output tokens/s by the median latency; a server is best used
    where that is greatest (L. Kleinrock, Power and deterministic rules of thumb for probabilistic problems in computer
    communications, ICC 1979). As N requests at once take N / throughput each, by Little's law, it is where N times
    as many requests would give less than the square root of N times the tokens: twice as many, less than 41 % more.

    Only levels that are complete count. It was not reached where there are fewer than two of these, or where the last
    one is still the best.
    """
    whole = [level for level in levels if not level.partial and power(level)]
    if len(whole) < 2:
        return None
    best = max(whole, key=power)
    return None if best is whole[-1] else best


def power(level: Level) -> float:
    """Output tokens/s for each second that a request takes; 0 where nothing was answered."""
    return level.output_tokens_per_s / level.latency_s.median if level.latency_s and level.latency_s.median else 0.0
