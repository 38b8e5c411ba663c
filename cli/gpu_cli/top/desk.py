"""What the view sees and does, in the real fleet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.all_stops import all_stops
from gpu_cli.fleet.end.replace import call_off
from gpu_cli.fleet.end.settle import settle
from gpu_cli.fleet.end.teardown import end_on_request
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.gauges.watch import Watch
from gpu_cli.fleet.guard.process import guard_lives
from gpu_cli.fleet.launch.called_off import call_off_launches
from gpu_cli.fleet.log_lines import log_lines
from gpu_cli.fleet.store import StoreCorrupt
from gpu_cli.top.sight import Seen, Sight

LINES_BEFORE = 500
"""How much of a log is shown that was written before it was opened."""


class Desk(Protocol):
    """Every call may take long, and is made in a thread of its own; all raise UserError."""

    def settle(self) -> None:
        """Now and then: where no guard is at work, end what is overdue, and start one."""

    def look(self) -> Sight:
        """Everything that lives, as it is now. From one thread only."""

    def logs(self, deployment: Deployment, stop: Callable[[], bool]) -> Iterator[str]:
        """Its log, and what comes, until it ends or `stop()`."""

    def take_down(self, deployment: Deployment) -> Deployment:
        """As it was when its cloud said that nothing of it is left."""


class FleetDesk:
    """The desk of this user."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._watch = Watch(fleet)

    def settle(self) -> None:
        """Raises UserError CLEANUP_UNCONFIRMED when something does not end."""
        if not guard_lives(self._fleet.paths):
            with _readable(), self._fleet.apart() as fleet:
                settle(fleet)

    def look(self) -> Sight:
        """Engines are waited for as `Watch` does."""
        with _readable():
            gauges = self._watch.look()
            with self._fleet.apart() as fleet:
                stops = all_stops(fleet, [one.deployment for one in gauges])
        seen = tuple(Seen(one, tuple(stops[one.deployment.resource_name])) for one in gauges)
        return Sight(self._fleet.clock.now(), seen)

    def logs(self, deployment: Deployment, stop: Callable[[], bool]) -> Iterator[str]:
        """The end of it, and what comes."""
        return log_lines(self._fleet, deployment, tail=LINES_BEFORE, follow=True, stop=stop)

    def take_down(self, deployment: Deployment) -> Deployment:
        """As `gpu down` does it. Raises UserError CLEANUP_UNCONFIRMED."""
        with _readable(), self._fleet.apart() as fleet:
            call_off_launches(fleet, [deployment.name])
            call_off(fleet, [deployment.name])
            return end_on_request(fleet, fleet.store.get(deployment.resource_name))

    def close(self) -> None:
        """End the connections to engines."""
        self._watch.close()


@contextmanager
def _readable() -> Iterator[None]:
    """What is on record can become unreadable while somebody watches."""
    try:
        yield
    except StoreCorrupt as error:
        message = f"the record of deployments is unreadable: {error}"
        hint = "have it made anew from what runs: gpu ls"
        raise UserError(Exit.BAD_INPUT, "bad-record", message, hint=hint) from error
