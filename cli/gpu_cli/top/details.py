"""What is said of the one deployment that is chosen: also what the table has no room for."""

from collections.abc import Iterator, Sequence

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.stops import Stop
from gpu_cli.fleet.gauges.readings import Gauges
from gpu_cli.top.columns import NOTHING_ENDS_IT, brief, gpu_memory, number, share, where
from gpu_cli.top.sight import Seen
from gpu_cli.units import format_usd

_BARS = "▁▂▃▄▅▆▇█"


def details(one: Seen, now: float, history: Sequence[float]) -> Sequence[tuple[str, str]]:
    """(what, how it is) from where it runs to what will end it; `history` is of its output tokens/s. What is not known
    is left out.
    """
    deployment = one.deployment
    return [
        ("name", deployment.name),
        ("model", deployment.model),
        ("endpoint", deployment.base_url or "none yet"),
        ("runs on", f"{where(one)}, {_costs(deployment, now)}"),
        *_of_engine(one.gauges, history),
        ("ends", _ends(one, now)),
    ]


def sparkline(values: Sequence[float]) -> str:
    """One character for each, the tallest for the most there was."""
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)


def _of_engine(gauges: Gauges, history: Sequence[float]) -> Iterator[tuple[str, str]]:
    if gauges.running is not None:
        yield "requests", f"{number(gauges.running)} running, {number(gauges.waiting)} waiting"
    if gauges.output_tokens_per_s is not None:
        rates = f"{number(gauges.input_tokens_per_s)} in, {number(gauges.output_tokens_per_s)} out"
        yield "tokens/s", f"{rates}  {sparkline(history)}"
    if gauges.kv_cache_used is not None:
        yield "KV cache", f"{share(gauges.kv_cache_used)} used, {number(gauges.preemptions)} requests preempted"
    if gauges.prefix_cache_hits is not None:
        yield "prefixes", f"{share(gauges.prefix_cache_hits)} of prompt tokens found in the cache"
    if gauges.gpu_memory_used_gib is not None:
        yield "memory", f"{gpu_memory(gauges)} of its cards"


def _costs(deployment: Deployment, now: float) -> str:
    return f"{format_usd(deployment.price_usd_per_hour)}/h, {format_usd(deployment.spent_usd(now))} so far"


def _ends(one: Seen, now: float) -> str:
    """Each kind of stop, with those who see to it."""
    hands: dict[str, list[str]] = {}
    for stop in one.stops:
        if stop.armed:
            hands.setdefault(_when(stop, now), []).append(stop.by)
    return "; ".join(f"{when} ({', '.join(by)})" for when, by in hands.items()) or NOTHING_ENDS_IT


def _when(stop: Stop, now: float) -> str:
    if stop.at is None:
        return f"after {brief(stop.after_s or 0.0)} idle"
    return f"{stop.kind} in {brief(max(0.0, stop.at - now))}"
