"""`gpu bench --list`: what was measured before."""

from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.bench.kept import kept_runs
from gpu_cli.bench.knee import knee
from gpu_cli.commands.bench_report import cards, run_document, short, shown_pressure
from gpu_cli.commands.documents import iso
from gpu_cli.ui.output import Result, Table

if TYPE_CHECKING:
    from gpu_cli.bench.result import BenchRun, Level
    from gpu_cli.fleet.fleet import Fleet

_COLUMNS = ("WHEN", "RECIPE", "GPU", "IN/OUT", "TOK/S", "AT", "KNEE", "$/M OUT", "VLLM", "MODEL", "FLAGS")
"""The long ones last: a narrow terminal breaks their lines, and leaves the figures where they are."""


def listed_runs(fleet: "Fleet", name: str | None) -> Result:
    """All benchmarks on record, or those of the deployment or recipe with that name; the last one first."""
    runs = [run for run in kept_runs(fleet.store) if name in (None, run.subject.name, run.subject.recipe)]
    table = Table(_COLUMNS, tuple(_row(run) for run in runs)) if runs else None
    messages = () if runs else (f"nothing was measured yet: gpu bench {name or 'NAME'}",)
    return Result({"benchmarks": [run_document(run) for run in runs]}, table=table, messages=messages)


def _row(run: "BenchRun") -> tuple[str, ...]:
    subject, at_knee = run.subject, knee(run.levels)
    best = max(run.levels, key=lambda level: level.output_tokens_per_s)
    usd = best.usd_per_million_output_tokens(subject.price_usd_per_hour)
    return (
        str(iso(run.at))[:16],
        subject.recipe,
        f"{subject.provider} {cards(subject)}",
        _lengths(run),
        f"{short(best.output_tokens_per_s)}{' partial' if run.partial else ''}",
        _pressure(best),
        _pressure(at_knee) if at_knee else "-",
        "" if usd is None else f"{usd:.2f}",
        subject.engine_version or "?",
        " ".join(filter(None, (subject.model, subject.quantization))),
        " ".join(subject.engine_args),
    )


def _pressure(level: "Level") -> str:
    """As short as it is clear in a column that has both kinds."""
    return f"{shown_pressure(level)}/s" if level.rate_per_s else shown_pressure(level)


def _lengths(run: "BenchRun") -> str:
    """Of its requests."""
    load = run.load
    return Path(load.dataset).name if load.dataset else f"{load.input_tokens}/{load.output_tokens}"
