"""Puts an endpoint under load, level by level, and tells what came of it."""

import os
import time
from collections import abc
from collections.abc import Callable, Sequence

from gpu_cli.bench.aiperf import RECORDS, command, environ_of, write_files
from gpu_cli.bench.generator import Generator
from gpu_cli.bench.preparation import Preparation, prepare
from gpu_cli.bench.pressure import Endpoint, Pressure, Standing
from gpu_cli.bench.process import Process, private_folder, running
from gpu_cli.bench.records import level_of
from gpu_cli.bench.result import Level, Load
from gpu_cli.bench.watch import USUAL, Course, Patience, standing, why_give_up, why_not_whole
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

_POLL_S = 0.2


def measure(
    generator: Generator,
    endpoint: Endpoint,
    load: Load,
    pressures: Sequence[Pressure],
    *,
    tell: Callable[[Standing], None] = lambda _: None,
    patience: Patience = USUAL,
) -> abc.Generator[Level, None, None]:
    """One level for each pressure, in that order, each as soon as it is measured.

    One process of the generator does all of them (its start takes seconds). To measure two endpoints in turn, call
    this once for each level.

    A level is partial, with the reason, when the server stalls, dies or only fails, when the generator ends early, when
    `tell` raises UserError, and when the user interrupts. It is the last one then; that error, or KeyboardInterrupt,
    follows when the next one is asked for.

    Raises UserError NEVER_HEALTHY when the server does not answer a first request, or none under load; BAD_INPUT for a
    dataset that cannot be used. When the iteration is over, failed, or closed (`contextlib.closing`), every process of
    the generator has ended, and its folder is gone.
    """
    plan = prepare(endpoint, load, pressures)
    with private_folder() as folder:
        write_files(folder, endpoint, plan, pressures, streaming=load.streaming)
        environ, records = environ_of(endpoint, folder, os.environ), folder / "out" / RECORDS
        with running(command(generator.python, folder), environ, folder, records=records) as process:
            yield from _levels(process, plan, pressures, patience, tell)


def _levels(
    process: Process,
    plan: Preparation,
    pressures: Sequence[Pressure],
    patience: Patience,
    tell: Callable[[Standing], None],
) -> abc.Generator[Level, None, None]:
    for index, pressure in enumerate(pressures):
        course, ended = Course(pressure, plan.timing, plan.alone_s), None
        try:
            partial = _follow(process, index, course, patience, tell)
        except (KeyboardInterrupt, UserError) as raised:
            partial, ended = str(raised) or "interrupted", raised
        level = level_of(process.requests[index], pressure, plan.timing, partial)
        if partial and index == 0 and not level.output_tokens:
            raise ended or _nothing_measured(partial)
        yield level
        if ended:
            raise ended
        if partial:
            return


def _follow(process: Process, index: int, course: Course, patience: Patience, tell: Callable[[Standing], None]) -> str:
    """Waits until the level is over, and says why it is not whole; nothing where it is."""
    while True:
        status = process.status
        process.read()
        requests = process.requests[index]
        if process.level > index or (status == 0 and requests):
            return why_not_whole(course, requests)
        if status is not None:
            return f"the load generator ended (status {status}): {process.last_words()}"
        now = time.time()
        quiet_s = now - process.heard_at
        if why := why_give_up(course, patience, requests, now=now, quiet_s=quiet_s, begun=process.level >= 0):
            return why
        tell(standing(course, requests, now))
        time.sleep(_POLL_S)


def _nothing_measured(why: str) -> UserError:
    hint = "see what it does: gpu logs NAME, gpu check NAME"
    return UserError(Exit.NEVER_HEALTHY, "nothing-measured", f"no request was answered under load: {why}", hint=hint)
