"""A plan counts on what was measured of the same, and on nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from benches import LOAD, level, run
from fleets import NOW, make_fleet
from hypothesis import given
from hypothesis import strategies as st
from sellers import offer

from gpu_cli.bench.kept import keep
from gpu_cli.bench.result import BenchRun, Load
from gpu_cli.commands.fit_report import documents, drawing, table, table_messages
from gpu_cli.commands.plan_report import plan_document, plan_prose, plan_table
from gpu_cli.config.settings import Settings, resolve_limits
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.market.fitting import Question, fit_on, open_question
from gpu_cli.fleet.market.market import Market
from gpu_cli.fleet.market.measured import measurements
from gpu_cli.fleet.market.planning import Wish
from gpu_cli.fleet.market.recipe_model import RecipeModel, configurations_of
from gpu_cli.paths import Paths
from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.measured import NOTHING_MEASURED, MeasuredRun, Measurements, Serving
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.planner.rank import Plan, rank
from gpu_cli.recipe.files import find_recipe, parse_recipe
from gpu_cli.recipe.schema import Recipe
from gpu_providers.base import Kind
from gpu_providers.gpus import GPUS

NOWHERE = Path("/nowhere")
PATHS = Paths(NOWHERE, NOWHERE, NOWHERE)
RECIPE = find_recipe("llama-3.1-8b", PATHS, NOWHERE)
H100, L40S = offer("runpod", 2.0), replace(offer("runpod", 0.8), gpu="L40S", gpu_memory_gib=45.0)


@cache
def configurations() -> Configurations:
    known = RecipeModel(RECIPE, PATHS, {}).known
    assert known
    return configurations_of(RECIPE, known, {})


def planned(found: Measurements, recipe: Recipe = RECIPE, optimize: Optimize = Optimize.PRICE) -> Plan:
    return rank(recipe, [H100, L40S], configurations(), measurements=found, optimize=optimize)


def on_h100(**changes: Any) -> MeasuredRun:
    """Of the recipe, as it would be served on the first offer."""
    flags = configurations().best("H100", 1, H100.gpu_memory_gib).flags
    serving = Serving(str(RECIPE.model.location), "", RECIPE.engine.version, flags)
    made = MeasuredRun(NOW, serving, "H100", 1, 1024, 256, {8: 500.0, 16: 900.0, 32: 1500.0})
    return replace(made, **changes)


def of(plan: Plan, gpu: str) -> Any:
    candidates: Any = plan_document(plan)["candidates"]
    return next(each for each in candidates if each["gpu"] == gpu)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path)
    yield fleet
    fleet.store.close()


def test_a_measured_speed_takes_the_place_of_the_estimate_and_says_so() -> None:
    estimated = planned(NOTHING_MEASURED)
    plan = planned(Measurements((on_h100(),)))
    measured = of(plan, "H100")
    assert measured["decode_tokens_per_s_total"] == 900.0
    assert measured["usd_per_million_output_tokens"] == round(2.0 * 1e6 / 3600 / 900, 6)
    assert (measured["speed_source"], measured["measured_at"]) == ("measured", "2027-01-15T08:00:00Z")
    assert of(plan, "L40S") == of(estimated, "L40S")
    assert (of(plan, "L40S")["speed_source"], of(plan, "L40S")["measured_at"]) == ("estimated", None)


def test_people_see_which_speeds_were_measured_and_when() -> None:
    plan = planned(Measurements((on_h100(),)))
    rows = {row[2]: row for row in plan_table(plan, everything=True).rows}
    assert rows["H100"][6] == "900*"
    assert str(rows["L40S"][6]).isdecimal()
    prose = plan_prose(plan, Market({}), everything=False)
    assert "TOK/S with *: measured by gpu bench (2027-01-15)" in prose
    assert not any("measured" in text for text in plan_prose(planned(NOTHING_MEASURED), Market({}), everything=False))


def test_offers_are_ranked_by_what_was_measured() -> None:
    by_estimate = planned(NOTHING_MEASURED, optimize=Optimize.COST_PER_TOKEN)
    first, second = (each.offer.gpu for each in by_estimate.candidates)
    slow = on_h100(tokens_per_s_by_concurrency={16: 1.0})
    fast = on_h100(tokens_per_s_by_concurrency={16: 1e6})
    orders = [
        [each.offer.gpu for each in planned(Measurements((found,)), optimize=Optimize.COST_PER_TOKEN).candidates]
        for found in (slow, fast)
    ]
    assert {first, second} == {"H100", "L40S"}
    assert orders == [["L40S", "H100"], ["H100", "L40S"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu": "H100-PCIE"},
        {"gpu_count": 2},
        {"input_tokens": 700},
        {"output_tokens": 512},
        {"tokens_per_s_by_concurrency": {1: 100.0, 8: 500.0}},
        {"tokens_per_s_by_concurrency": {32: 1500.0}},
        {"tokens_per_s_by_concurrency": {}},
        *(
            {"serving": replace(on_h100().serving, **{field: value})}
            for field, value in {
                "model": "org/other",
                "quantization": "fp8",
                "engine_version": "0.31.0",
                "engine_args": (*on_h100().serving.engine_args, "--enforce-eager"),
            }.items()
        ),
    ],
    ids=str,
)
def test_what_was_measured_of_something_else_is_not_counted_on(changes: dict[str, object]) -> None:
    assert plan_document(planned(Measurements((on_h100(**changes),)))) == plan_document(planned(NOTHING_MEASURED))


@pytest.mark.parametrize("changes", [{"input_tokens": 1200}, {"output_tokens": 200}])
def test_requests_that_are_about_as_long_count(changes: dict[str, int]) -> None:
    assert of(planned(Measurements((on_h100(**changes),))), "H100")["speed_source"] == "measured"


def test_the_last_measurement_that_reaches_the_concurrency_counts() -> None:
    short = on_h100(at=NOW + 2, tokens_per_s_by_concurrency={1: 100.0})
    later = on_h100(at=NOW + 1, tokens_per_s_by_concurrency={16: 950.0})
    plan = planned(Measurements((short, later, on_h100())))
    assert of(plan, "H100")["decode_tokens_per_s_total"] == 950.0


@given(st.dictionaries(st.integers(1, 64), st.floats(1.0, 1e5), max_size=6), st.integers(1, 80))
def test_between_two_levels_the_speed_is_between_theirs_and_beyond_them_it_is_not_known(
    levels: dict[int, float], concurrency: int
) -> None:
    found = on_h100(tokens_per_s_by_concurrency=levels).output_tokens_per_s(concurrency)
    below = [speed for at, speed in sorted(levels.items()) if at <= concurrency][-1:]
    above = [speed for at, speed in sorted(levels.items()) if at >= concurrency][:1]
    if found is None:
        assert not (below and above)
        return
    assert min(below + above) * 0.999 <= found <= max(below + above) * 1.001
    assert found == pytest.approx(levels.get(concurrency, found))


def kept(fleet: Fleet, *runs: BenchRun) -> Measurements:
    for each in runs:
        keep(fleet.store, each)
    return measurements(fleet.store)


def test_what_is_on_record_is_what_plans_count_on(fleet: Fleet) -> None:
    partial = replace(level(32, 1500), partial="the server died")
    (found,) = kept(fleet, run(level(8, 500), level(16, 900), partial)).runs
    assert found.tokens_per_s_by_concurrency == {8: 500.0, 16: 900.0}
    assert (found.gpu, found.gpu_count, found.input_tokens, found.output_tokens) == ("H100", 1, 1024, 256)
    assert found.serving == Serving("org/model", "", "0.32.0", ("--max-model-len", "8192"))


def test_neither_arrivals_nor_datasets_tell_a_plan_anything(fleet: Fleet) -> None:
    arrivals = run(replace(level(16), concurrency=None, rate_per_s=2.0))
    dataset = replace(run(level(16)), load=Load(None, None, "/file", streaming=True, duration_s=30.0))
    assert LOAD.input_tokens
    assert [each.tokens_per_s_by_concurrency for each in kept(fleet, arrivals, dataset).runs] == [{}]


def test_a_machine_without_a_gpu_is_measured_too() -> None:
    recipe = parse_recipe("model: a/b\ngpu: {cpu: true}\nconcurrency: 4\n", Path("/r.yaml"), shown="r.yaml")
    cpu = replace(offer("local", 0.0, Kind.PROCESS), gpu="cpu", gpu_count=0)
    serving = Serving("a/b", "", recipe.engine.version, ("--max-num-seqs", "4"))
    found = Measurements((MeasuredRun(NOW, serving, "cpu", 0, 1024, 256, {4: 40.0}),))
    (candidate,) = rank(recipe, [cpu], None, measurements=found).candidates
    assert (candidate.output_tokens_per_s, candidate.usd_per_million_output_tokens) == (40.0, 0.0)
    assert rank(recipe, [cpu], None).candidates[0].output_tokens_per_s is None


def test_only_what_may_be_launched_here_counts_on_what_was_measured_here(fleet: Fleet) -> None:
    keep(fleet.store, run(level(16)))
    wanted = Wanted(RECIPE, "r", resolve_limits(Settings({}, ()), RECIPE, {}))
    assert Wish.to_launch(fleet, wanted).measurements.runs
    assert Wish.to_replay(wanted).measurements is NOTHING_MEASURED


def test_a_fit_says_what_was_measured_and_only_of_what_was(fleet: Fleet) -> None:
    flags = on_h100().serving.engine_args
    kept(fleet, run(level(16, 900), model=RECIPE.model.location, engine_args=flags))

    def asked(**question: Any) -> Any:
        opened = open_question(Question(RECIPE.name, **question), fleet.paths, NOWHERE, {})
        return opened, fit_on(opened, GPUS["H100"], 1)

    opened, fit = asked()
    document: Any = documents(opened, [fit])
    assert (document["decode_tokens_per_s_total"], document["speed_source"]) == (900.0, "measured")
    assert "  measured: 900 tokens/s for 16 (gpu bench, 2027-01-15)" in drawing(opened, fit).below
    assert table([fit]).rows[0][-1] == "900*"
    assert "TOK/S with *: measured by gpu bench" in table_messages([fit])
    for other in ({"quantization": "fp8"}, {"concurrency": 8}, {"gpu_memory_utilization": 0.8}):
        assert asked(**other)[1].measured is None
