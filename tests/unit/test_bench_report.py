"""What a benchmark says to people and to scripts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benches import level, run

from gpu_cli.bench.pressure import Pressure
from gpu_cli.bench.result import Load, Spread
from gpu_cli.commands.bench_against_report import against_document, against_prose, against_table
from gpu_cli.commands.bench_load import load_of, plot_folder, pressures_of
from gpu_cli.commands.bench_report import run_document, run_prose, run_table
from gpu_cli.errors import UserError
from gpu_cli.ui.output import Table

SATURATES = (level(1, 100), level(2, 190), level(4, 350), level(8, 600), level(16, 700), level(32, 720))


def width(table: Table) -> int:
    columns = zip(table.columns, *table.rows, strict=True)
    return sum(max(len(str(cell)) for cell in column) + 2 for column in columns) - 2


def test_a_row_has_what_a_level_came_to_with_its_units_in_the_header() -> None:
    table = run_table(run(level(8, 600, errors={"timeout": 2, "refused": 1})))
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "AT ONCE": "8",
        "REQS": "23",
        "ERR": "3",
        "OUT/S": "600",
        "ALL/S": "3,000",
        "TTFT ms": "100/200/300",
        "ITL ms": "10/20/30",
        "LATENCY s": "3.4/3.8/4.1",
        "$/M OUT": "1.67",
    }


def test_the_knee_is_marked_and_named_in_a_sentence() -> None:
    saturates = run(*SATURATES)
    assert [row[0] for row in run_table(saturates).rows] == ["1", "2", "4", "8 knee", "16", "32"]
    assert "the knee: 8 at once; 16 at once bring 17% more tokens/s and take 1.7 times as long" in run_prose(saturates)
    assert any("not reached" in text for text in run_prose(run(*SATURATES[:4])))
    assert any("takes two complete levels" in text for text in run_prose(run(*SATURATES[:1])))


def test_the_table_fits_a_hundred_columns_with_large_figures() -> None:
    large = [
        level(2**i, 12345.6, latency_s=Spread(123.4, 234.5, 345.6), time_to_first_token_s=Spread(1.2, 12.3, 99.9))
        for i in range(9)
    ]
    assert width(run_table(run(*large, price_usd_per_hour=98.32))) <= 100
    assert width(run_table(run(*SATURATES))) <= 80


def test_what_costs_nothing_is_said_to_cost_nothing() -> None:
    free = run(level(1), price_usd_per_hour=0.0)
    assert run_table(free).rows[0][-1] == "0.00"
    assert "$0.00/h: its tokens cost nothing here" in run_prose(free)[0]
    assert run_document(free)["levels"][0]["usd_per_million_output_tokens"] == 0.0  # type: ignore[index]


def test_what_is_partial_says_so_and_why() -> None:
    died = replace(level(2), partial="the server died", errors={"connection": 4}, latency_s=None)
    partial = run(level(1), died)
    assert run_table(partial).rows[1][0] == "2 partial"
    assert run_prose(partial)[-2:] == ("2 at once: partial: the server died", "requests that failed: 4 connection")
    document: Any = run_document(partial)
    assert (document["partial"], document["levels"][1]["partial"]) == (True, "the server died")
    assert document["levels"][0]["partial"] is None


def test_answers_that_do_not_stream_have_no_first_token() -> None:
    plain = run(level(1, time_to_first_token_s=None, inter_token_latency_s=None))
    assert run_table(plain).rows[0][5:7] == ("-", "-")


def test_scripts_get_everything_in_seconds() -> None:
    document: Any = run_document(run(*SATURATES))
    assert document["knee"] == {"concurrency": 8, "rate_per_s": None}
    assert (document["at"], document["gpu"], document["engine_args"]) == (
        "2027-01-15T08:00:00Z",
        "H100",
        ["--max-model-len", "8192"],
    )
    assert document["load"]["input_tokens"] == 1024
    assert document["levels"][3] == {
        "concurrency": 8,
        "rate_per_s": None,
        "seconds": 10.0,
        "requests": 23,
        "errors": {},
        "input_tokens": 24000,
        "output_tokens": 6000,
        "output_tokens_per_s": 600.0,
        "total_tokens_per_s": 3000.0,
        "time_to_first_token_s": {"median": 0.1, "p90": 0.2, "p99": 0.3},
        "inter_token_latency_s": {"median": 0.01, "p90": 0.02, "p99": 0.03},
        "latency_s": {"median": 3.413333, "p90": 3.754667, "p99": 4.096},
        "usd_per_million_output_tokens": 1.666667,
        "partial": None,
    }


def test_two_deployments_are_shown_side_by_side() -> None:
    first, second = run(level(1, 100), level(2, 150)), run(level(1, 150), name="other", price_usd_per_hour=7.2)
    table = against_table(first, second)
    assert table.rows == (("1", "100/150 x1.50", "100/100 x1.00", "10/10 x1.00", "2.6/1.7 x0.67", "10/13 x1.33"),)
    document: Any = against_document(first, second)
    assert [each["name"] for each in document["runs"]] == ["tiny", "other"]
    assert document["ratios"][0]["output_tokens_per_s"] == 1.5
    assert document["ratios"][0]["usd_per_million_output_tokens"] == 1.3333
    assert "each cell: tiny/other, and the second as a multiple of the first" in against_prose(first, second)
    assert width(table) <= 100


@pytest.mark.parametrize(
    ("concurrency", "rate", "pressures"),
    [
        (None, None, [Pressure(concurrency=value) for value in (1, 2, 4, 8, 16, 32)]),
        ("8,2,2", None, [Pressure(concurrency=2), Pressure(concurrency=8)]),
        (None, "2.5,1", [Pressure(rate_per_s=1.0), Pressure(rate_per_s=2.5)]),
    ],
)
def test_pressures_are_measured_by_growing_pressure(
    concurrency: str | None, rate: str | None, pressures: list[Pressure]
) -> None:
    assert pressures_of(concurrency, rate, 30.0) == pressures


@pytest.mark.parametrize(
    ("concurrency", "rate"),
    [
        ("1", "1"),
        ("", None),
        ("0", None),
        ("1,x", None),
        ("1.5", None),
        ("99999", None),
        (None, "nan"),
        (None, "-1"),
        (None, "0.1,9"),
    ],
)
def test_a_pressure_that_makes_no_sense_is_refused(concurrency: str | None, rate: str | None) -> None:
    with pytest.raises(UserError) as refused:
        pressures_of(concurrency, rate, 30.0)
    assert refused.value.exit_status == 2


def test_a_load_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Why?"}')
    assert load_of(None, 5, file, "1m", streaming=True) == Load(None, 5, str(file), streaming=True, duration_s=60.0)
    for arguments in ((7, None, file, "30s"), (None, None, tmp_path, "30s"), (1, 1, None, "0.5s"), (1, 1, None, "x")):
        with pytest.raises(UserError) as refused:
            load_of(*arguments, streaming=True)
        assert refused.value.exit_status == 2
    with pytest.raises(UserError):
        plot_folder(file)
