"""The answers of `gpu fit`, for scripts and for people."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpu_cli.commands.speeds import MEASURED, speed_source
from gpu_cli.ui.bars import Bar, Segment
from gpu_cli.ui.output import Drawing, Table
from gpu_providers.price_snapshot import SNAPSHOT_DATE

if TYPE_CHECKING:
    from gpu_cli.fleet.market.fitting import Fit, Opened
    from gpu_cli.planner.measured import Measured
    from gpu_cli.planner.sizing import Memory, Sizing
    from gpu_cli.planner.speed import Speed

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
BAR_WIDTH, SMALL_BAR_WIDTH = 72, 20


def header(opened: "Opened") -> tuple[str, ...]:
    """What was asked, and what was taken for granted."""
    recipe, facts = opened.recipe, opened.known.facts
    context = recipe.context or facts.max_context
    return (
        f"{opened.model} in {_stored(opened)} ({opened.known.origin})",
        f"{recipe.concurrency:,} requests of {context:,} tokens at once, vLLM {recipe.engine.version}",
        *(f"by default: {text}" for text in opened.defaults),
    )


def documents(opened: "Opened", fits: "Sequence[Fit]", *, several: bool = False) -> Mapping[str, object]:
    """One document where one card was asked for, else a list of them."""
    each = [_document(opened, fit) for fit in fits]
    return {"fits": each} if several or len(each) > 1 else each[0]


def drawing(opened: "Opened", fit: "Fit") -> Drawing:
    """The card's memory, the verdict, and what would change it."""
    sizing, speed = fit.configuration.sizing, fit.configuration.speed
    title = f"{_where(fit)}: {fit.configuration.verdict}"
    if sizing is None:
        return Drawing((title, f"  {fit.configuration.why_not}"), None, ())
    lines = [f"  {reason}" for reason in sizing.reasons]
    if speed is not None:
        error = f"+-{speed.expected_relative_error:.0%}"
        lines.append(
            f"  about {speed.decode_tokens_per_s_single:.0f} tokens/s for one request, "
            f"{speed.decode_tokens_per_s_total:.0f} for {speed.running_requests:.0f} ({error})"
        )
    if fit.measured is not None:
        at_once, day = opened.recipe.concurrency, f"{datetime.fromtimestamp(fit.measured.at, UTC):%Y-%m-%d}"
        lines.append(f"  measured: {fit.measured.output_tokens_per_s:.0f} tokens/s for {at_once} (gpu bench, {day})")
    if sizing.lever is not None:
        lines.append(f"  {sizing.lever.change}: {sizing.lever.verdict}; {sizing.lever.effect}")
    flags = " ".join((*fit.configuration.flags, *opened.question.flags()))
    to_copy = f"  flags: {flags}" if flags else ""
    return Drawing((title,), _bar(sizing.memory, BAR_WIDTH), tuple(lines), to_copy)


def table(fits: "Sequence[Fit]") -> Table:
    """One row a card that somebody rents out."""
    return Table(
        ("GPU", "$/H", "FIT", "MEMORY OF ONE CARD", "KV TOKENS", "REQS", "TOK/S"),
        tuple(_row(fit) for fit in fits if fit.price_usd_per_hour is not None),
    )


def table_messages(fits: "Sequence[Fit]") -> tuple[str, ...]:
    """How to read it, and what it leaves out."""
    legend = next((_bar(fit.configuration.sizing.memory, 1) for fit in fits if fit.configuration.sizing), None)
    shades = ", ".join(f"{segment.glyph} {segment.label}" for segment in legend.segments) if legend else ""
    unsold = sum(fit.price_usd_per_hour is None for fit in fits)
    texts = (
        shades,
        f"each card with the fewest of it that will do; prices of {SNAPSHOT_DATE}; one in detail: --gpu CARD[:N]",
        f"{unsold} more cards, which no cloud had then, are in --json" if unsold else "",
        f"TOK/S with {MEASURED}: measured by gpu bench" if any(fit.measured for fit in fits) else "",
    )
    return tuple(text for text in texts if text)


def _row(fit: "Fit") -> tuple[str | Bar, ...]:
    sizing, speed = fit.configuration.sizing, fit.configuration.speed
    price = "" if fit.price_usd_per_hour is None else f"{fit.price_usd_per_hour:.2f}"
    start = (_where(fit), price, str(fit.configuration.verdict))
    if sizing is None:
        return (*start, fit.configuration.why_not, "", "", "")
    bar = _bar(sizing.memory, SMALL_BAR_WIDTH)
    if not sizing.starts:
        return (*start, bar, "", "", "")
    total = f"{speed.decode_tokens_per_s_total:.0f}" if speed else ""
    if fit.measured:
        total = f"{fit.measured.output_tokens_per_s:.0f}{MEASURED}"
    return (*start, bar, f"{sizing.kv_cache_tokens}", f"{sizing.max_concurrency:.1f}", total)


def _where(fit: "Fit") -> str:
    return fit.gpu.name if fit.count == 1 else f"{fit.gpu.name} x{fit.count}"


def _stored(opened: "Opened") -> str:
    facts = opened.known.facts
    label = facts.quantization.label
    return _DTYPES.get(facts.dtype, facts.dtype) if label == "none" else label


def _bar(memory: "Memory", width: int) -> Bar:
    used = memory.weights_gib + memory.overhead_gib + max(0.0, memory.kv_cache_gib)
    others = memory.overhead_gib - (memory.graphs_gib if memory.graphs_in_budget else 0.0)
    return Bar(
        (
            Segment("weights", memory.weights_gib, "█"),
            Segment("activations and others", others, "▓"),
            Segment("graphs", memory.graphs_gib, "▒"),
            Segment("KV cache", max(0.0, memory.kv_cache_gib), "░"),
            Segment("free", memory.total_gib - used - (0.0 if memory.graphs_in_budget else memory.graphs_gib), "·"),
        ),
        memory.total_gib,
        width,
    )


def _document(opened: "Opened", fit: "Fit") -> Mapping[str, object]:
    sizing, speed = fit.configuration.sizing, fit.configuration.speed
    return {
        "model": opened.model,
        "quantization": _stored(opened),
        "gpu": fit.gpu.name,
        "gpu_count": fit.count,
        "tensor_parallel": sizing and sizing.settings.layout.tensor_parallel,
        "pipeline_parallel": sizing and sizing.settings.layout.pipeline_parallel,
        "fits": fit.runs,
        "verdict": str(fit.configuration.verdict),
        "reasons": list(sizing.reasons) if sizing else [fit.configuration.why_not],
        **_memory_document(opened, sizing),
        **_speed_document(speed, fit.measured),
        "engine_args": [*fit.configuration.flags, *opened.question.flags()],
        "engine_version": opened.recipe.engine.version,
        "context": opened.configurations.workload.context,
        "concurrency": opened.configurations.workload.concurrency,
        "lever": _lever_document(sizing),
        "facts_from": opened.known.origin,
        "price_usd_per_hour": fit.price_usd_per_hour,
    }


def _memory_document(opened: "Opened", sizing: "Sizing | None") -> Mapping[str, object]:
    memory = sizing.memory if sizing else None
    return {
        "memory_gib_per_gpu": memory and round(memory.total_gib, 4),
        "budget_gib_per_gpu": memory and round(memory.budget_gib, 4),
        "weights_gib_per_gpu": memory and round(memory.weights_gib, 4),
        "overhead_gib_per_gpu": memory and round(memory.overhead_gib, 4),
        "kv_cache_gib_per_gpu": memory and round(memory.kv_cache_gib, 4),
        "kv_bytes_per_token": sizing and round(opened.kv_bytes_per_token(sizing)),
        "kv_cache_tokens": sizing and sizing.kv_cache_tokens,
        "max_concurrency": sizing and round(sizing.max_concurrency, 4),
    }


def _speed_document(speed: "Speed | None", measured: "Measured | None") -> Mapping[str, object]:
    total = measured.output_tokens_per_s if measured else speed and speed.decode_tokens_per_s_total
    return {
        "decode_tokens_per_s_single": speed and round(speed.decode_tokens_per_s_single, 4),
        "decode_tokens_per_s_total": total and round(total, 4),
        **speed_source(measured, is_estimated=speed is not None),
        "prefill_tokens_per_s": speed and round(speed.prefill_tokens_per_s, 4),
        "time_to_first_token_s": speed and round(speed.time_to_first_token_s, 4),
        "expected_relative_error": speed and speed.expected_relative_error,
    }


def _lever_document(sizing: "Sizing | None") -> Mapping[str, object] | None:
    lever = sizing.lever if sizing else None
    if lever is None:
        return None
    return {"change": lever.change, "verdict": str(lever.verdict), "effect": lever.effect}
