"""What `gpu top` says where it looks once."""

from collections.abc import Mapping

from gpu_cli.commands.documents import deployment_document, iso
from gpu_cli.top.columns import COLUMNS, cells
from gpu_cli.top.sight import Seen, Sight, problems
from gpu_cli.ui.output import Result, Table


def top_result(sight: Sight) -> Result:
    """A table without anything left out, or one document."""
    table = Table(tuple(column.title for column in COLUMNS), tuple(cells(COLUMNS, sight)))
    document = {"at": iso(sight.at), "deployments": [_document(one, sight.at) for one in sight.seen]}
    messages = tuple(problems(sight)) if sight.seen else ("nothing is running",)
    return Result(document, table=table if sight.seen else None, messages=messages)


def _document(one: Seen, now: float) -> Mapping[str, object]:
    """As in `gpu ls`, with what its engine does; null is what is not known."""
    gauges = one.gauges
    return {
        **deployment_document(one.deployment, one.stops, now),
        "requests_running": gauges.running,
        "requests_waiting": gauges.waiting,
        "input_tokens_per_s": gauges.input_tokens_per_s,
        "output_tokens_per_s": gauges.output_tokens_per_s,
        "kv_cache_used": gauges.kv_cache_used,
        "prefix_cache_hits": gauges.prefix_cache_hits,
        "preemptions": gauges.preemptions,
        "gpu_memory_used_gib": gauges.gpu_memory_used_gib,
        "gpu_memory_total_gib": gauges.gpu_memory_total_gib,
        "problem": gauges.problem,
    }
