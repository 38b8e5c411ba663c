"""What the guard does, and whom it tells: the log always, and the user's desktop where there is one."""

from collections.abc import Callable

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.replace import replace_lost
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.notify import notify
from gpu_cli.ui.output import print_message
from gpu_cli.ui.progress import Silent
from gpu_cli.units import format_usd

Deed = Callable[[Fleet], None]
"""It may take minutes, and has a store connection of its own."""


def end(fleet: Fleet, deployment: Deployment, reason: str) -> None:
    """End it, verified. Raises UserError CLEANUP_UNCONFIRMED."""
    try:
        ended = tear_down(fleet, deployment, reason)
    except UserError as error:
        notify(fleet.environ, f"{error.message} ({reason}). It may still bill: gpu down {deployment.name}")
        raise
    _done(ended)
    spent = format_usd(ended.spent_usd(fleet.clock.now()))
    notify(fleet.environ, f"{ended.name} was ended: {ended.reason} (spent {spent})")
    see_replaced(fleet, ended)


def see_replaced(fleet: Fleet, ended: Deployment) -> None:
    """Another one comes in its place, if its cloud took it back and its user wants that."""
    if said := replace_lost(fleet, ended):
        tell(fleet, said)


def see_through(fleet: Fleet, deployment: Deployment) -> None:
    """The rest of a detached start: the way is short once it answers."""
    from gpu_cli.fleet.launch.start import watch_start  # slow to import, and `gpu up` waits for the guard's start

    _done(watch_start(fleet, deployment, Silent(), tied=False))


def tell(fleet: Fleet, said: str) -> None:
    """The log and the desktop."""
    print_message(said)
    notify(fleet.environ, said)


def _done(deployment: Deployment) -> None:
    print_message(f"{deployment.resource_name}: {deployment.state} {deployment.reason}")
