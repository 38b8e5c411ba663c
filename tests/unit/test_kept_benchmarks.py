"""What was measured is on record, whatever ended the benchmark."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benches import LOAD, SUBJECT, level, run
from fleets import NOW, deployment, make_fleet
from sellers import offer

from gpu_cli.bench.generator import Generator
from gpu_cli.bench.kept import keep, kept_runs
from gpu_cli.bench.pressure import Endpoint, Pressure
from gpu_cli.bench.result import Level, Load
from gpu_cli.bench.session import Outcome, Target, benchmark
from gpu_cli.bench.subject import context_of, subject_of, with_usual_lengths
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.measured import keep_serving
from gpu_cli.fleet.store import Store
from gpu_cli.planner.rank import rank
from gpu_cli.recipe.files import parse_recipe
from gpu_providers.base import Secret

PRESSURES = [Pressure(concurrency=1), Pressure(concurrency=2), Pressure(concurrency=4)]
DEAD = UserError(Exit.NEVER_HEALTHY, "no-answer", "the server does not answer")

Happens = Level | BaseException


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = make_fleet(tmp_path)
    yield fleet
    fleet.store.close()


def target(name: str) -> Target:
    return Target(replace(SUBJECT, name=name), Endpoint(f"http://{name}/v1", Secret("key"), name))


@pytest.fixture
def measured(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """A benchmark in which this comes of each server's levels; `asked` is in which order they were asked for."""
    asked: list[tuple[str, int | None]] = []
    happening: dict[str, list[Happens]] = {}

    def measure(_: object, of: Endpoint, __: Load, pressures: Sequence[Pressure], **___: object) -> Iterator[Level]:
        for pressure in pressures:
            asked.append((of.model, pressure.concurrency))
            came = happening[of.model].pop(0)
            if isinstance(came, BaseException):
                raise came
            yield came
            if came.partial:
                return

    def go(**servers: list[Happens]) -> Outcome:
        happening.update(servers)
        return benchmark(
            fleet,
            Generator("aiperf 0.13.0", Path("/python")),
            [target(name) for name in servers],
            LOAD,
            PRESSURES,
            lambda *_: None,
        )

    monkeypatch.setattr("gpu_cli.bench.session.measure", measure)
    go.asked = asked  # type: ignore[attr-defined]
    return go


def test_a_benchmark_comes_back_as_it_was_kept(fleet: Fleet) -> None:
    partial = replace(level(2), partial="the server died", errors={"timeout": 3}, time_to_first_token_s=None)
    by_rate = replace(level(1, rate_per_s=2.5), concurrency=None)
    earlier, later = run(level(1), partial), run(by_rate, at=NOW + 1, quantization="fp8")
    later = replace(later, load=Load(None, None, "/prompts.jsonl", streaming=False, duration_s=5.0))
    for each in (earlier, later):
        keep(fleet.store, each)
    assert kept_runs(fleet.store) == [later, earlier]


def test_a_record_of_the_last_release_gets_room_for_benchmarks(tmp_path: Path) -> None:
    path = tmp_path / "gpu.db"
    store = Store(path).open()
    with store.transaction() as connection:
        for statement in ("DROP TABLE benchmarks", "DROP TABLE servings", "PRAGMA user_version = 4"):
            connection.execute(statement)
    store.close()
    store = Store(path).open()
    keep(store, run(level()))
    assert kept_runs(store) == [run(level())]
    store.close()


def test_all_levels_of_one_deployment_are_one_run(fleet: Fleet, measured: Callable[..., Outcome]) -> None:
    levels = [level(1), level(2), level(4)]
    outcome = measured(tiny=list(levels))
    (kept,) = kept_runs(fleet.store)
    assert outcome == Outcome((kept,))
    assert (kept.at, kept.levels, kept.load, kept.subject.name) == (NOW, tuple(levels), LOAD, "tiny")


def test_two_deployments_take_turns(fleet: Fleet, measured: Any) -> None:
    outcome = measured(one=[level(1), level(2), level(4)], two=[level(1), level(2), level(4)])
    assert measured.asked == [("one", 1), ("two", 1), ("one", 2), ("two", 2), ("one", 4), ("two", 4)]
    assert [each.subject.name for each in outcome.runs] == ["one", "two"]
    assert len(kept_runs(fleet.store)) == 2


def test_an_interruption_keeps_what_was_measured(fleet: Fleet, measured: Callable[..., Outcome]) -> None:
    outcome = measured(tiny=[level(1), KeyboardInterrupt()])
    assert outcome.interrupted
    assert [each.levels for each in kept_runs(fleet.store)] == [(level(1),)]


def test_a_server_that_dies_in_the_middle_leaves_what_was_measured(
    fleet: Fleet, measured: Callable[..., Outcome]
) -> None:
    outcome = measured(one=[level(1), DEAD], two=[level(1), level(2)])
    assert outcome.problem is DEAD
    assert [len(each.levels) for each in kept_runs(fleet.store)] == [1, 1]


@pytest.mark.parametrize("at_once", [DEAD, KeyboardInterrupt()])
def test_where_nothing_was_measured_nothing_is_kept(
    fleet: Fleet, measured: Callable[..., Outcome], at_once: BaseException
) -> None:
    with pytest.raises(type(at_once)):
        measured(tiny=[at_once])
    assert kept_runs(fleet.store) == []


def test_what_is_measured_is_known_as_it_was_launched(fleet: Fleet) -> None:
    text = "model: A/B\nquantization: fp8\ngpu: {names: [H100]}\ncontext: 4096\nengine: {args: [--seed, '1']}\n"
    recipe = parse_recipe(text, Path("/r.yaml"), shown="r.yaml")
    (candidate,) = rank(recipe, [offer("cloud")], None).candidates
    keep_serving(fleet.store, "gpu-tiny-1", recipe, candidate)
    subject = subject_of(fleet, deployment())
    assert (subject.model, subject.quantization, subject.engine_version) == ("A/B", "fp8", "0.32.0")
    assert subject.engine_args == ("--max-num-seqs", "16", "--max-model-len", "4096", "--seed", "1")
    assert (subject.gpu, subject.price_usd_per_hour) == ("H100", 2.0)


def test_of_what_was_launched_elsewhere_neither_version_nor_flags_are_known(fleet: Fleet) -> None:
    subject = subject_of(fleet, deployment())
    assert (subject.model, subject.engine_version, subject.engine_args) == ("tiny", "", ())


@pytest.mark.parametrize(
    ("context", "asked", "lengths"),
    [
        (None, (None, None), (1024, 256)),
        (500, (None, None), (350, 100)),
        (500, (100, None), (100, 100)),
        (500, (400, 100), (400, 100)),
        (None, (7, 8), (7, 8)),
    ],
)
def test_requests_are_as_long_as_those_that_estimates_are_for(
    context: int | None, asked: tuple[int | None, int | None], lengths: tuple[int, int]
) -> None:
    load = Load(*asked, "", streaming=True, duration_s=30.0)
    found = with_usual_lengths(load, context)
    assert (found.input_tokens, found.output_tokens) == lengths


def test_requests_that_the_context_has_no_room_for_are_refused() -> None:
    assert context_of(replace(SUBJECT, engine_args=("--max-model-len", "500"))) == 500
    assert context_of(replace(SUBJECT, engine_args=())) is None
    with pytest.raises(UserError) as refused:
        with_usual_lengths(Load(401, None, "", streaming=True, duration_s=30.0), 500)
    assert refused.value.message == "401 tokens in and 100 out are more than the context of 500"


def test_a_dataset_has_lengths_of_its_own() -> None:
    load = Load(None, 64, "/prompts.jsonl", streaming=True, duration_s=30.0)
    assert with_usual_lengths(load, 500) is load
