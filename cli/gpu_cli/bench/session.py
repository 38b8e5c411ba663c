"""One benchmark from the first request to the record: whatever ends it, what was measured is kept."""

from collections import abc
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from gpu_cli.bench.drive import measure
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.kept import keep
from gpu_cli.bench.pressure import Endpoint, Pressure, Standing
from gpu_cli.bench.result import BenchRun, Level, Load, Subject
from gpu_cli.errors import UserError
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.interrupt import shielded

Tell = Callable[[Subject, Standing], object]


@dataclass(frozen=True)
class Target:
    """What is put under load."""

    subject: Subject
    endpoint: Endpoint
    levels: list[Level] = field(default_factory=list)
    """What has been measured of it so far."""


@dataclass(frozen=True)
class Outcome:
    """What came of a benchmark: a run of each target of which anything could be measured."""

    runs: tuple[BenchRun, ...]
    problem: UserError | None = None
    """What ended it before its time."""
    interrupted: bool = False


def benchmark(
    fleet: Fleet, generator: Generator, targets: Sequence[Target], load: Load, pressures: Sequence[Pressure], tell: Tell
) -> Outcome:
    """The same load for all targets; of several each level at all of them before the next, so that what changes with
    the time of day changes for all. Nothing is raised by an interruption, or by a server that dies, once there is
    something to show. Raises UserError and KeyboardInterrupt before that.
    """
    at, problem, interrupted = fleet.clock.now(), None, False
    try:
        with closing(_levels(generator, targets, load, pressures, tell)) as measured:
            for target, level in measured:
                target.levels.append(level)
    except UserError as error:
        problem = error
    except KeyboardInterrupt:
        interrupted = True
    runs = tuple(
        BenchRun(at, target.subject, load, tuple(target.levels), generator.name) for target in targets if target.levels
    )
    with shielded():
        for run in runs:
            keep(fleet.store, run)
    if not runs and problem:
        raise problem
    if not runs:
        raise KeyboardInterrupt
    return Outcome(runs, problem, interrupted)


def _levels(
    generator: Generator, targets: Sequence[Target], load: Load, pressures: Sequence[Pressure], tell: Tell
) -> abc.Generator[tuple[Target, Level], None, None]:
    """Of a single target all in one go, for which the generator starts once."""
    turns = [[pressure] for pressure in pressures] if len(targets) > 1 else [pressures]
    for turn in turns:
        for target in targets:

            def told(standing: Standing, subject: Subject = target.subject) -> None:
                tell(subject, standing)

            with closing(measure(generator, target.endpoint, load, turn, tell=told)) as levels:
                for level in levels:
                    yield target, level
