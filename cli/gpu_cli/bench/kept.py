"""Benchmarks on record: what was measured stays known when its deployment is gone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from sqlite3 import Row
from typing import Any

from gpu_cli.bench.result import BenchRun, Level, Load, Spread, Subject
from gpu_cli.fleet.store import Store

_SPREADS = ("time_to_first_token_s", "inter_token_latency_s", "latency_s")


def keep(store: Store, run: BenchRun) -> None:
    """Put it on record."""
    values = {
        **asdict(run.subject),
        **asdict(run.load),
        "at": run.at,
        "generator": run.generator,
        "engine_args": json.dumps(run.subject.engine_args),
        "levels": json.dumps([asdict(level) for level in run.levels]),
    }
    columns, marks = ", ".join(values), ", ".join("?" for _ in values)
    with store.transaction() as connection:
        connection.execute(
            f"INSERT INTO benchmarks ({columns}) VALUES ({marks})",  # noqa: S608 - our own column names
            (*values.values(),),
        )


def kept_runs(store: Store) -> Sequence[BenchRun]:
    """All that are on record, the last one first."""
    return [_run(row) for row in store.rows("SELECT * FROM benchmarks ORDER BY at DESC, id DESC")]


def _run(row: Row) -> BenchRun:
    subject: dict[str, Any] = {field.name: row[field.name] for field in fields(Subject)}
    subject["engine_args"] = tuple(json.loads(row["engine_args"]))
    load: dict[str, Any] = {field.name: row[field.name] for field in fields(Load)}
    load["streaming"] = bool(row["streaming"])
    levels = tuple(_level(level) for level in json.loads(row["levels"]))
    return BenchRun(row["at"], Subject(**subject), Load(**load), levels, row["generator"])


def _level(values: Mapping[str, Any]) -> Level:
    spreads = {name: Spread(**values[name]) for name in _SPREADS if values[name]}
    return Level(**{**values, **spreads})
