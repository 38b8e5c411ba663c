"""Two benchmarks side by side, for scripts and for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpu_cli.bench.against import FIGURES, Compared, side_by_side
from gpu_cli.commands.bench_report import (
    knee_prose,
    load_prose,
    partial_prose,
    pressure_document,
    pressure_title,
    run_document,
    short,
    shown_pressure,
    subject_prose,
)
from gpu_cli.ui.output import Table

if TYPE_CHECKING:
    from gpu_cli.bench.result import BenchRun

_COLUMNS = ("OUT/S", "TTFT ms", "ITL ms", "LATENCY s", "$/M OUT")
_SHOWN_AS = {"time_to_first_token_s": 1e3, "inter_token_latency_s": 1e3}
"""Figures that people get in milliseconds."""


def against_document(first: "BenchRun", second: "BenchRun") -> Mapping[str, object]:
    """Both, and each figure of the second as a multiple of the first's."""
    return {
        "runs": [run_document(first), run_document(second)],
        "ratios": [_compared_document(each) for each in side_by_side(first, second)],
    }


def _compared_document(compared: Compared) -> Mapping[str, object]:
    rounded = {name: None if ratio is None else round(ratio, 4) for name, ratio in compared.ratios.items()}
    return {**pressure_document(compared.first), **rounded}


def against_table(first: "BenchRun", second: "BenchRun") -> Table:
    """One row a pressure, with medians."""
    prices = first.subject.price_usd_per_hour, second.subject.price_usd_per_hour
    rows = tuple(_compared_row(each, *prices) for each in side_by_side(first, second))
    return Table((pressure_title(first.levels), *_COLUMNS), rows)


def _compared_row(compared: Compared, first_usd_per_hour: float, second_usd_per_hour: float) -> tuple[str, ...]:
    cells = []
    for name, figure in FIGURES.items():
        values = figure(compared.first, first_usd_per_hour), figure(compared.second, second_usd_per_hour)
        shown = "/".join("-" if value is None else short(value * _SHOWN_AS.get(name, 1)) for value in values)
        ratio = compared.ratios[name]
        cells.append(shown if ratio is None else f"{shown} x{ratio:.2f}")
    partial = " partial" if compared.first.partial or compared.second.partial else ""
    return (f"{shown_pressure(compared.first)}{partial}", *cells)


def against_prose(first: "BenchRun", second: "BenchRun") -> tuple[str, ...]:
    """Who was compared, and how to read the cells."""
    names = first.subject.name, second.subject.name
    knees = (
        f"{run.subject.name}: {text}" for run in (first, second) for text in (knee_prose(run), *partial_prose(run))
    )
    return (
        *subject_prose(first),
        *subject_prose(second),
        load_prose(first)[0],
        "OUT/S is tokens a second of answers, TTFT the time to the first token, ITL that between tokens; medians",
        f"each cell: {names[0]}/{names[1]}, and the second as a multiple of the first",
        *knees,
    )
