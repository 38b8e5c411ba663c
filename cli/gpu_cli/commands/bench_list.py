"""`gpu bench --list`: what was measured before."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.bench.kept import kept_runs
from gpu_cli.bench.knee import knee
from gpu_cli.commands.bench_report import cards, in_words, run_document, short
from gpu_cli.commands.documents import iso
from gpu_cli.ui.output import Result, Table

if TYPE_CHECKING:
    from gpu_cli.bench.result import BenchRun
    from gpu_cli.fleet.fleet import Fleet

_COLUMNS = ("WHEN", "RECIPE", "MODEL", "GPU", "VLLM", "IN/OUT", "TOK/S", "AT", "KNEE", "$/M OUT", "FLAGS")


def listed_runs(fleet: "Fleet") -> Result:
    """All benchmarks on record, the last one first."""
    runs = kept_runs(fleet.store)
    table = Table(_COLUMNS, tuple(_row(run) for run in runs)) if runs else None
    messages = () if runs else ("nothing was measured yet: gpu bench NAME",)
    return Result({"benchmarks": [run_document(run) for run in runs]}, table=table, messages=messages)


def _row(run: "BenchRun") -> tuple[str, ...]:
    subject, at_knee = run.subject, knee(run.levels)
    best = max(run.levels, key=lambda level: level.output_tokens_per_s)
    usd = best.usd_per_million_output_tokens(subject.price_usd_per_hour)
    return (
        str(iso(run.at))[:16],
        subject.recipe,
        " ".join(filter(None, (subject.model, subject.quantization))),
        f"{subject.provider} {cards(subject)}",
        subject.engine_version or "?",
        _lengths(run),
        f"{short(best.output_tokens_per_s)}{' partial' if run.partial else ''}",
        in_words(best),
        in_words(at_knee) if at_knee else "-",
        "" if usd is None else f"{usd:.2f}",
        " ".join(subject.engine_args),
    )


def _lengths(run: "BenchRun") -> str:
    """Of its requests."""
    load = run.load
    return Path(load.dataset).name if load.dataset else f"{load.input_tokens}/{load.output_tokens}"
