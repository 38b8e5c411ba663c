"""The part of `gpu bench` in which something is measured."""

from collections.abc import Sequence
from contextlib import suppress

from gpu_cli.bench.generator import Generator, ready_generator
from gpu_cli.bench.pressure import Endpoint, Pressure, Standing
from gpu_cli.bench.result import Load, Subject
from gpu_cli.bench.session import Outcome, Target, benchmark
from gpu_cli.bench.subject import context_of, subject_of, with_usual_lengths
from gpu_cli.commands.here import need_endpoint, the_key
from gpu_cli.commands.tied import keep_guarded
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.reach.wake import wake
from gpu_cli.fleet.store import StoreCorrupt
from gpu_cli.ui.output import print_message
from gpu_cli.ui.stages import progress_on_stderr
from gpu_providers.base import Kind


def ready(fleet: Fleet) -> Generator:
    """The load generator, installed now if it was not: before anything is rented. Raises UserError."""
    with progress_on_stderr() as progress:
        progress.stage("generator")
        return ready_generator(fleet.paths.cache, progress)


def measured(
    fleet: Fleet, generator: Generator, deployments: Sequence[Deployment], load: Load, pressures: Sequence[Pressure]
) -> Outcome:
    """Where the load leaves lengths open, they are those that estimates are for, and that all have the context for.

    Raises as `benchmark` does, and UserError for what cannot be reached.
    """
    targets = [_target(fleet, deployment) for deployment in deployments]
    loads = [with_usual_lengths(load, context_of(target.subject)) for target in targets]
    shortest = min(loads, key=lambda each: each.input_tokens or 0)
    with progress_on_stderr() as progress:

        def tell(subject: Subject, standing: Standing) -> None:
            of_whom = f" of {subject.name}" if len(targets) > 1 else ""
            progress.stage(f"{standing.pressure}{of_whom}")
            progress.detail(_in_words(standing))
            for deployment in deployments:
                keep_guarded(fleet, deployment)
                _check_ready(fleet, deployment)

        return benchmark(fleet, generator, targets, shortest, pressures, tell)


def _target(fleet: Fleet, deployment: Deployment) -> Target:
    """Serverless ones get a worker first: its start is not what is measured."""
    deployment = need_endpoint(fleet, deployment)
    key = the_key(fleet, deployment)
    if deployment.kind is Kind.SERVERLESS:
        wake(deployment.endpoint, key, fleet.clock, print_message)
    return Target(subject_of(fleet, deployment), Endpoint(deployment.base_url, key, deployment.model))


def _check_ready(fleet: Fleet, deployment: Deployment) -> None:
    """Raises UserError NEVER_HEALTHY for what is being ended: it answers no more, and this is why."""
    with suppress(StoreCorrupt):  # the benchmark goes on all the same
        current = fleet.store.get(deployment.resource_name)
        if current.state is not State.READY:
            message = f"{current.name} is {current.state} ({current.reason})"
            raise UserError(Exit.NEVER_HEALTHY, "ended", message, hint="see what runs: gpu ls")


def _in_words(standing: Standing) -> str:
    if not standing.answered + standing.failed:
        return "no answer yet"
    failed = f", {standing.failed} failed" if standing.failed else ""
    left = f", {standing.remaining_s:.0f} s to go" if standing.remaining_s > 0 else ", finishing"
    return f"{standing.answered} answered{failed}, {standing.output_tokens_per_s:,.0f} tokens/s{left}"
