"""Benchmarks, for scripts and for people."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gpu_cli.bench.knee import knee
from gpu_cli.commands.documents import iso
from gpu_cli.ui.output import Table
from gpu_cli.units import format_duration, format_usd

if TYPE_CHECKING:
    from gpu_cli.bench.result import BenchRun, Level, Load, Spread, Subject

_COLUMNS = ("REQS", "ERR", "OUT/S", "ALL/S", "TTFT ms", "ITL ms", "LATENCY s", "$/M OUT")


def run_document(run: "BenchRun") -> Mapping[str, object]:
    """One benchmark. Times in seconds, rates per second."""
    subject, load, at_knee = run.subject, run.load, knee(run.levels)
    usd_per_hour = subject.price_usd_per_hour
    return {
        "at": iso(run.at),
        "name": subject.name,
        "recipe": subject.recipe,
        "model": subject.model,
        "quantization": subject.quantization or None,
        "provider": subject.provider,
        "region": subject.region,
        "gpu": subject.gpu,
        "gpu_count": subject.gpu_count,
        "engine_version": subject.engine_version or None,
        "engine_args": list(subject.engine_args),
        "price_usd_per_hour": usd_per_hour,
        "generator": run.generator,
        "load": _load_document(load),
        "levels": [_level_document(level, usd_per_hour) for level in run.levels],
        "knee": pressure_document(at_knee) if at_knee else None,
        "partial": run.partial,
    }


def _load_document(load: "Load") -> Mapping[str, object]:
    return {
        "input_tokens": load.input_tokens,
        "output_tokens": load.output_tokens,
        "dataset": load.dataset or None,
        "streaming": load.streaming,
        "duration_s": load.duration_s,
    }


def pressure_document(level: "Level") -> Mapping[str, object]:
    """What a level is known by."""
    return {"concurrency": level.concurrency, "rate_per_s": level.rate_per_s}


def _level_document(level: "Level", usd_per_hour: float) -> Mapping[str, object]:
    usd = level.usd_per_million_output_tokens(usd_per_hour)
    return {
        **pressure_document(level),
        "seconds": round(level.seconds, 3),
        "requests": level.requests,
        "errors": dict(level.errors),
        "input_tokens": level.input_tokens,
        "output_tokens": level.output_tokens,
        "output_tokens_per_s": round(level.output_tokens_per_s, 4),
        "total_tokens_per_s": round(level.total_tokens_per_s, 4),
        "time_to_first_token_s": _spread_document(level.time_to_first_token_s),
        "inter_token_latency_s": _spread_document(level.inter_token_latency_s),
        "latency_s": _spread_document(level.latency_s),
        "usd_per_million_output_tokens": None if usd is None else round(usd, 6),
        "partial": level.partial or None,
    }


def _spread_document(spread: "Spread | None") -> Mapping[str, float] | None:
    if spread is None:
        return None
    return {"median": round(spread.median, 6), "p90": round(spread.p90, 6), "p99": round(spread.p99, 6)}


def run_table(run: "BenchRun") -> Table:
    """One row a level; spreads are median/p90/p99."""
    usd_per_hour, at_knee = run.subject.price_usd_per_hour, knee(run.levels)
    rows = tuple(_row(level, usd_per_hour, is_knee=level is at_knee) for level in run.levels)
    return Table((pressure_title(run.levels), *_COLUMNS), rows)


def pressure_title(levels: "Iterable[Level]") -> str:
    """Of the first column."""
    return "REQ/S" if any(level.rate_per_s for level in levels) else "AT ONCE"


def _row(level: "Level", usd_per_hour: float, *, is_knee: bool) -> tuple[str, ...]:
    usd = level.usd_per_million_output_tokens(usd_per_hour)
    mark = "knee" if is_knee else "partial" if level.partial else ""
    return (
        f"{shown_pressure(level)} {mark}".rstrip(),
        str(level.requests),
        str(sum(level.errors.values())),
        short(level.output_tokens_per_s),
        short(level.total_tokens_per_s),
        _spread(level.time_to_first_token_s, 1e3),
        _spread(level.inter_token_latency_s, 1e3),
        _spread(level.latency_s, 1),
        "" if usd is None else f"{usd:.2f}",
    )


def shown_pressure(level: "Level") -> str:
    """In the first column."""
    return f"{level.rate_per_s or level.concurrency:g}"


def _spread(spread: "Spread | None", scale: float) -> str:
    if spread is None:
        return "-"
    return "/".join(short(value * scale) for value in (spread.median, spread.p90, spread.p99))


def short(value: float) -> str:
    """Two digits, and more where there are more before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def run_prose(run: "BenchRun") -> tuple[str, ...]:
    """What was measured, how, where its knee is, and what is missing."""
    return (*subject_prose(run), *load_prose(run), knee_prose(run), *partial_prose(run))


def subject_prose(run: "BenchRun") -> tuple[str, ...]:
    """Who was measured, and what an hour of it costs."""
    subject = run.subject
    model = " ".join(filter(None, (subject.model, subject.quantization)))
    engine = f", vLLM {subject.engine_version}" if subject.engine_version else ""
    price = f"{format_usd(subject.price_usd_per_hour)}/h"
    costs = price if subject.price_usd_per_hour else f"{price}: its tokens cost nothing here"
    lines = (f"{subject.name}: {model} on {subject.provider} {cards(subject)}{engine}, {costs}",)
    unknown = "launched elsewhere, or by an older gpu: its flags are not known, and no plan will use these figures"
    return lines if subject.engine_version else (*lines, unknown)


def cards(subject: "Subject") -> str:
    """Its GPUs."""
    return subject.gpu if subject.gpu_count < 2 else f"{subject.gpu} x{subject.gpu_count}"


def load_prose(run: "BenchRun") -> tuple[str, ...]:
    """Which requests, by what, and how to read the columns."""
    load = run.load
    asked = load.dataset or f"{load.input_tokens:,} tokens in, {load.output_tokens:,} out"
    streamed = "streamed" if load.streaming else "not streamed"
    return (
        f"requests: {asked}, {streamed}; {format_duration(load.duration_s)} a level, by {run.generator}",
        "OUT/S and ALL/S are tokens a second, of answers and with prompts; TTFT is the time to the first token, "
        "ITL that between tokens; times are median/p90/p99",
    )


def knee_prose(run: "BenchRun") -> str:
    """Where it is best used, or why nobody knows."""
    at_knee, whole = knee(run.levels), [level for level in run.levels if not level.partial]
    if at_knee:
        following = whole[whole.index(at_knee) + 1]
        return (
            f"the knee: {in_words(at_knee)}; {in_words(following)} bring {_change(at_knee, following)} "
            f"and take {_slower(at_knee, following)}"
        )
    if len(whole) < 2:
        return "the knee: not known, which takes two complete levels"
    return f"the knee: not reached; up to {in_words(whole[-1])}, tokens/s grow faster than requests wait: try more"


def in_words(level: "Level") -> str:
    """Its pressure."""
    return f"{level.rate_per_s:g} requests/s" if level.rate_per_s else f"{level.concurrency} at once"


def _change(before: "Level", after: "Level") -> str:
    gained = after.output_tokens_per_s / before.output_tokens_per_s - 1
    return f"{abs(gained):.0%} {'more' if gained >= 0 else 'fewer'} tokens/s"


def _slower(before: "Level", after: "Level") -> str:
    if before.latency_s is None or after.latency_s is None:
        return "longer"
    return f"{after.latency_s.median / before.latency_s.median:.1f} times as long"


def partial_prose(run: "BenchRun") -> tuple[str, ...]:
    """What is missing, and what went wrong."""
    partial = [f"{in_words(level)}: partial: {level.partial}" for level in run.levels if level.partial]
    failed: Counter[str] = Counter()
    for level in run.levels:
        failed.update(level.errors)
    errors = ", ".join(f"{count} {word}" for word, count in failed.most_common())
    return (*partial, *((f"requests that failed: {errors}",) if errors else ()))
