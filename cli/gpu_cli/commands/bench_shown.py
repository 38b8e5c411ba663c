"""What `gpu bench` shows of what it has measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpu_cli.bench.knee import knee
from gpu_cli.bench.result import BenchRun
from gpu_cli.bench.session import Outcome
from gpu_cli.commands.bench_against_report import against_document, against_prose, against_table
from gpu_cli.commands.bench_report import run_document, run_prose, run_table
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.plots.charts import BenchChart
from gpu_cli.ui.output import Result, show


def shown(outcome: Outcome, folder: Path | None, *, as_json: bool) -> None:
    """Draw it, print it, and end the program: with NEVER_HEALTHY where the figures are not all that was asked for.

    Raises UserError INTERRUPTED after an interruption, with the figures beside it.
    """
    charts = [BenchChart(run, knee(run.levels)) for run in outcome.runs]
    files = _drawn(charts, folder) if folder else ()
    result = replace(_result(outcome, files), figure=lambda columns, colour: _letters(charts, columns, colour))
    if not outcome.interrupted:
        show(result, as_json=as_json)
        return
    if not as_json:
        show(replace(result, exit_status=Exit.DONE), as_json=False)
    message = "interrupted; what was measured until then is kept"
    raise UserError(Exit.INTERRUPTED, "interrupted", message, hint="gpu bench --list", document=result.document)


def _result(outcome: Outcome, files: Sequence[Path]) -> Result:
    told = (f"{outcome.problem.message}: what was measured until then is shown",) if outcome.problem else ()
    partial = outcome.problem is not None or any(run.partial for run in outcome.runs)
    shown = _of_two(*outcome.runs) if len(outcome.runs) > 1 else _of_one(*outcome.runs)
    return replace(
        shown,
        document={**shown.document, "partial": partial, "files": [str(file) for file in files]},
        messages=(*told, *(f"written: {file}" for file in files)),
        exit_status=Exit.NEVER_HEALTHY if partial else Exit.DONE,
    )


def _of_one(run: BenchRun) -> Result:
    return Result(run_document(run), table=run_table(run), prose=run_prose(run))


def _of_two(first: BenchRun, second: BenchRun) -> Result:
    return Result(
        against_document(first, second), table=against_table(first, second), prose=against_prose(first, second)
    )


def _drawn(charts: Sequence[BenchChart], folder: Path) -> Sequence[Path]:
    from gpu_cli.plots.bench_figure import write_bench_figure  # with matplotlib, which takes a second to import

    return write_bench_figure(charts, folder)


def _letters(charts: Sequence[BenchChart], columns: int, colour: bool) -> str:
    from gpu_cli.plots.terminal import bench_in_terminal

    return bench_in_terminal(charts, columns, colour=colour)
