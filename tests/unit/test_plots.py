"""What is drawn of a benchmark, and of costs: files for reports, letters for a terminal."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from gpu_cli.bench.result import BenchRun, Level, Load, Spread, Subject
from gpu_cli.errors import UserError
from gpu_cli.plots.bench_figure import write_bench_figure
from gpu_cli.plots.charts import BenchChart, CostChart, Crossing, Curve
from gpu_cli.plots.compare_figure import write_cost_figure
from gpu_cli.plots.marks import marks_of
from gpu_cli.plots.style import house_style, write_figure
from gpu_cli.plots.terminal import bench_in_terminal, cost_in_terminal
from gpu_cli.plots.words import count, dollars, seconds

SUBJECT = Subject(
    name="llama-8b",
    resource_name="gpu-llama-8b",
    recipe="llama-8b",
    recipe_digest="d",
    model="hf://meta-llama/Llama-3.1-8B-Instruct",
    quantization="fp8",
    provider="runpod",
    region="eu",
    gpu="L40S",
    gpu_count=2,
    engine_version="0.32.0",
    engine_args=(),
    price_usd_per_hour=1.58,
)


def level(concurrency: int, *, streamed: bool = True, partial: str = "") -> Level:
    spread = Spread(0.05 * concurrency, 0.06 * concurrency, 0.09 * concurrency)
    first = spread if streamed else None
    return Level(concurrency, None, 30.0, 10, {}, 10_240, 700 * concurrency, first, first, spread, partial)


def run(levels: Sequence[Level], name: str = "llama-8b", *, streamed: bool = True) -> BenchRun:
    load = Load(1024, 256, "", streamed, 30.0)
    return BenchRun(1.8e9, replace(SUBJECT, name=name), load, tuple(levels), "aiperf 0.13.0")


LEVELS = [level(1), level(4), level(16)]
SILENT = Level(32, None, 30.0, 0, {"refused": 9}, 0, 0, None, None, None, "refused")
CHART = BenchChart(run(LEVELS), LEVELS[1])
SERVE = Curve("always on", "serve", ((1e6, 700.0), (9e7, 700.0), (9e7, 1400.0), (1e9, 1400.0)))
CALL = Curve("an API", "call", ((1e6, 9.0), (1e9, 9000.0)))
COSTS = CostChart("Cost of Llama", (SERVE, CALL), (Crossing(7.8e7, 700.0, "serving is cheaper"),), 2e7, "list prices")


HOLLOW = "fill: #ffffff; stroke: #0072b2"


def words_in(svg: Path) -> str:
    """Text is drawn as paths, but each begins with a comment that says it."""
    return "\n".join(re.findall(r"<!-- (.+) -->", svg.read_text()))


def test_a_benchmark_becomes_a_png_and_an_svg_that_say_what_was_measured(tmp_path: Path) -> None:
    png, svg = write_bench_figure([CHART], tmp_path)
    assert (png.name, svg.name) == ("bench-llama-8b.png", "bench-llama-8b.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    said = words_in(svg)
    for expected in (
        "llama-8b: meta-llama/Llama-3.1-8B-Instruct fp8 on L40S x2, $1.58/h",
        "1024 tokens in, 256 out, streamed, 30s a level; measured by aiperf 0.13.0",
        "Output tokens/s",
        "Time to first token",
        "Inter-token latency",
        "requests at once",
        "knee",
        "p99",
    ):
        assert expected in said
    assert "incomplete" not in said
    assert HOLLOW not in svg.read_text()


def test_two_benchmarks_share_their_axes_incomplete_levels_are_hollow_and_no_knee_is_invented(tmp_path: Path) -> None:
    broken = [*LEVELS[:2], replace(LEVELS[2], partial="stalled"), SILENT]
    other = BenchChart(run([level(2), level(32)], "llama-awq"), None)
    _, svg = write_bench_figure([BenchChart(run(broken), None), other], tmp_path)
    assert svg.name == "bench-llama-8b-llama-awq.svg"
    said = words_in(svg)
    for expected in ("hollow: incomplete levels", "llama-8b: median", "llama-awq: p99"):
        assert expected in said
    assert "knee" not in said
    of_stalled, of_silent = 5, 1  # throughput, and two latencies with two lines each where something was answered
    assert svg.read_text().count(HOLLOW) == of_stalled + of_silent


def test_answers_in_one_piece_have_no_first_token_and_arrivals_an_axis_of_their_own(tmp_path: Path) -> None:
    levels = [replace(level(1, streamed=False), concurrency=None, rate_per_s=rate) for rate in (0.5, 2.0)]
    _, svg = write_bench_figure([BenchChart(run(levels, streamed=False), None)], tmp_path)
    said = words_in(svg)
    assert "Request latency" in said
    assert "first token" not in said
    assert "requests per second" in said
    assert "0.5" in said


def test_costs_become_files_with_the_crossings_marked_and_named(tmp_path: Path) -> None:
    png, svg = write_cost_figure(COSTS, tmp_path, "compare-llama")
    assert (png.name, svg.name) == ("compare-llama.png", "compare-llama.svg")
    said = words_in(svg)
    for expected in (
        "Cost of Llama",
        "always on",
        "an API",
        "1 78M a day: serving is cheaper",
        "asked: 20M",
        "list prices",
    ):
        assert expected in re.sub(" +", " ", said)


def write_small_figure(folder: Path) -> tuple[Path, ...]:
    with house_style():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 2])
        return write_figure(figure, folder, "small")


def test_the_same_figure_is_the_same_file_at_any_time(tmp_path: Path) -> None:
    first, second = (write_small_figure(tmp_path / folder) for folder in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_folder_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write") as caught:
        write_small_figure(tmp_path / "file")
    assert caught.value.hint


@pytest.mark.parametrize("columns", [44, 80, 140])
def test_a_terminal_gets_as_many_diagrams_as_it_has_room_for(columns: int) -> None:
    drawn = bench_in_terminal([CHART], columns, colour=False)
    assert max(map(len, drawn.splitlines())) <= columns
    titles = ("Output tokens/s", "Time to first token", "Inter-token latency")
    assert sum(title in drawn for title in titles) == {44: 1, 80: 2, 140: 3}[columns]
    assert "against requests at once; dotted: the knee" in drawn
    assert "\x1b" not in drawn


def test_a_terminal_with_colours_gets_them() -> None:
    assert "\x1b[" in bench_in_terminal([CHART], 80, colour=True)


def test_a_terminal_says_which_letter_is_which_benchmark() -> None:
    drawn = bench_in_terminal([CHART, BenchChart(run([level(2)], "llama-awq"), None)], 80, colour=False)
    assert drawn.startswith("o llama-8b, x llama-awq\n")


@pytest.mark.parametrize("columns", [60, 100])
def test_costs_in_a_terminal_name_every_option(columns: int) -> None:
    drawn = cost_in_terminal(COSTS, columns, colour=False)
    assert max(map(len, drawn.splitlines())) <= columns
    assert drawn.endswith("o always on\nx an API")
    assert "$1k" in drawn
    assert "100M" in drawn


def test_a_level_without_answers_has_its_place_in_a_terminal_too() -> None:
    assert "32" in bench_in_terminal([BenchChart(run([SILENT]), None)], 80, colour=False)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(-2, 6)), min_size=2, max_size=9), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_marks_lie_on_their_curve(points: list[tuple[float, float]], position: int) -> None:
    points = sorted(points)
    heights = [height for _, height in points]
    for at, height in marks_of(points, position):
        assert points[0][0] <= at <= points[-1][0]
        assert min(heights) - 1e-9 <= height <= max(heights) + 1e-9


def test_figures_on_axes_are_short() -> None:
    assert [count(value) for value in (0, 0.5, 16, 1500, 2e7, 3e9)] == ["0", "0.5", "16", "1.5k", "20M", "3B"]
    assert [count(value) for value in (999.4, 999.6, 999_700, 999.9e9)] == ["999", "1k", "1M", "1T"]
    assert [seconds(value) for value in (0, 0.035, 1.25)] == ["0", "35 ms", "1.25 s"]
    assert dollars(4500) == "$4.5k"
