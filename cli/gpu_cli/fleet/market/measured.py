"""What benchmarks on record say about plans; and, of each launch, what decides how fast it will be."""

import json
from contextlib import closing
from pathlib import Path
from sqlite3 import Row

from gpu_cli.errors import UserError
from gpu_cli.fleet.store import Store, StoreCorrupt
from gpu_cli.planner.measured import NOTHING_MEASURED, MeasuredRun, Measurements, Serving, serving_of
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe

_RUNS = """
SELECT at, model, quantization, engine_version, engine_args, gpu, gpu_count, input_tokens, output_tokens, levels
FROM benchmarks WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL ORDER BY at DESC
"""


def keep_serving(store: Store, resource_name: str, recipe: Recipe, candidate: Candidate) -> None:
    """Put beside a deployment on record how its model is served: the recipe may be another one when it is measured."""
    serving = serving_of(recipe, candidate.offer.gpu_count, candidate.configuration)
    args = json.dumps(serving.engine_args)
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO servings VALUES (?, ?, ?, ?, ?)",
            (resource_name, serving.model, serving.quantization, serving.engine_version, args),
        )


def serving_on_record(store: Store, resource_name: str) -> Serving | None:
    """How a deployment serves its model; None where another machine, or an older program, has launched it."""
    rows = store.rows("SELECT * FROM servings WHERE resource_name = ?", resource_name)
    return _serving(rows[0]) if rows else None


def measurements(store: Store) -> Measurements:
    """All benchmarks that say something about plans."""
    return Measurements(tuple(map(_run, store.rows(_RUNS))))


def measurements_in(file: Path) -> Measurements:
    """The same for who has no other use for the record: what cannot be read tells nothing."""
    if not file.is_file():
        return NOTHING_MEASURED
    try:
        with closing(Store(file).open()) as store:
            return measurements(store)
    except (UserError, StoreCorrupt):
        return NOTHING_MEASURED


def _run(row: Row) -> MeasuredRun:
    return MeasuredRun(
        row["at"],
        _serving(row),
        row["gpu"],
        row["gpu_count"],
        row["input_tokens"],
        row["output_tokens"],
        {
            level["concurrency"]: level["output_tokens"] / level["seconds"]
            for level in json.loads(row["levels"])
            if level["concurrency"] and level["seconds"] and not level["partial"]
        },
    )


def _serving(row: Row) -> Serving:
    return Serving(row["model"], row["quantization"], row["engine_version"], tuple(json.loads(row["engine_args"])))
