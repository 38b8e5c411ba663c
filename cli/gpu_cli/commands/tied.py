"""A deployment for as long as a command lasts."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gpu_cli.ui.output import print_message

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.fleet.launch.policy import Attempt


@contextmanager
def tied_deployment(fleet: "Fleet", wanted: "Wanted", provider: str | None) -> "Iterator[Deployment]":
    """One that is ready, and gone after the block whatever happens in it; then what it cost is told.

    Raises UserError as `gpu up` does, and for a name that is taken.
    """
    from gpu_cli.commands.tried_report import told_in_the_end
    from gpu_cli.fleet.deployment import COMMAND_ENDED
    from gpu_cli.fleet.end.teardown import tear_down
    from gpu_cli.fleet.interrupt import interruptible, shielded
    from gpu_cli.fleet.launch.launch import check_name_free
    from gpu_cli.fleet.launch.up import bring_up
    from gpu_cli.locks import released
    from gpu_cli.ui.stages import progress_on_stderr
    from gpu_cli.units import format_usd

    # The launch lock is held to the end: a deployment that is tied ends with the process that holds it.
    with interruptible(), released(fleet.launch_lock(wanted.name)) as lock:
        check_name_free(fleet, wanted.name)
        tried: list[Attempt] = []
        with told_in_the_end(tried), progress_on_stderr() as progress:
            deployment = bring_up(fleet, wanted, lock, provider=provider, progress=progress, tried=tried)
        try:
            yield deployment
        finally:
            with shielded():
                ended = tear_down(fleet, fleet.store.get(deployment.resource_name), COMMAND_ENDED)
                cost = format_usd(ended.spent_usd(fleet.clock.now()))
                print_message(f"{ended.name} is gone; it cost {cost}")


def keep_guarded(fleet: "Fleet", deployment: "Deployment") -> None:
    """While a command works with it: a guard that has died gets a successor, as it may be what forwards to it."""
    from gpu_cli.errors import UserError
    from gpu_cli.fleet.guard.process import ensure_guard, guard_lives
    from gpu_cli.fleet.store import StoreCorrupt

    with suppress(UserError, StoreCorrupt):  # the command goes on all the same
        if not guard_lives(fleet.paths) and fleet.store.get(deployment.resource_name).is_live:
            ensure_guard(fleet)
