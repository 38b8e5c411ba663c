"""What goes on behind the live view, in threads, so that no key ever waits for a cloud: looking, and taking down."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from textual.message import Message

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.top.desk import Desk
from gpu_cli.top.sight import Sight


@dataclass
class Looked(Message):
    """All that lives, once more."""

    sight: Sight


@dataclass
class LookFailed(Message):
    """The last sight is all there is."""

    error: UserError


@dataclass
class Ended(Message):
    """What was taken down is gone."""

    deployment: Deployment


class NotEnded(Message):
    """Something may bill on: one more of `not_ended`."""


class Broke(Message):
    """Nobody foresaw what is in `broken`."""


SETTLE_EVERY_S = 30.0
"""A guard that was killed meanwhile is missed by nobody else."""
_SETTLING = ""


class Work:
    """Tells what comes of it by `post`. What is under way when the view is left goes on."""

    def __init__(self, desk: Desk, every_s: float, post: Callable[[Message], object]) -> None:
        self.broken: Exception | None = None
        self._desk = desk
        self._every_s = every_s
        self._post = post
        self._over = threading.Event()
        self._ending: dict[str, tuple[Deployment, threading.Thread]] = {}
        """By resource name."""
        self._not_ended: dict[str, UserError] = {}
        """By resource name; with `_SETTLING`, what came of that the last time."""

    def start(self) -> None:
        """Look, until `stop`. What is overdue may take long to end: that is for another thread."""
        for keep in (self._keep_looking, self._keep_settled):
            threading.Thread(target=keep, daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def ending(self) -> Sequence[Deployment]:
        """What is being taken down."""
        return [deployment for deployment, _ in list(self._ending.values())]

    def not_ended(self) -> Sequence[UserError]:
        """What was tried, and may bill on."""
        return list(self._not_ended.values())

    def await_ends(self) -> None:
        """Come back when all that is being taken down has ended, or has not."""
        for _, thread in list(self._ending.values()):
            thread.join()

    def take_down(self, deployment: Deployment) -> None:
        """Once, however often it is said."""
        if deployment.resource_name in self._ending:
            return
        thread = threading.Thread(target=self._end, args=[deployment], name="take-down", daemon=True)
        self._ending[deployment.resource_name] = deployment, thread
        thread.start()

    def forget_what_has_ended(self, sight: Sight) -> None:
        """The guard may have managed what failed here."""
        live = {one.deployment.resource_name for one in sight.seen}
        for name, error in list(self._not_ended.items()):
            if error.still_billing and live.isdisjoint(error.still_billing):
                self._not_ended.pop(name, None)

    def _end(self, deployment: Deployment) -> None:
        with self._kept_as(deployment.resource_name):
            self._post(Ended(self._desk.take_down(deployment)))
        del self._ending[deployment.resource_name]

    def _keep_looking(self) -> None:
        self._look()
        while not self._over.wait(self._every_s):
            self._look()

    def _keep_settled(self) -> None:
        self._settle()
        while not self._over.wait(SETTLE_EVERY_S):
            self._settle()

    def _settle(self) -> None:
        with self._kept_as(_SETTLING):
            self._desk.settle()

    def _look(self) -> None:
        with self._guarded(lambda error: self._post(LookFailed(error))):
            self._post(Looked(self._desk.look()))

    @contextmanager
    def _kept_as(self, name: str) -> Iterator[None]:
        """What did not end has to be told even when the screen is gone; until the same succeeds."""

        def keep(error: UserError) -> None:
            self._not_ended[name] = error
            self._post(NotEnded())

        with self._guarded(keep):
            yield
            self._not_ended.pop(name, None)

    @contextmanager
    def _guarded(self, told: Callable[[UserError], object]) -> Iterator[None]:
        """What is raised in a thread gets to the screen."""
        try:
            yield
        except UserError as error:
            told(error)
        except Exception as error:  # noqa: BLE001 - it is raised again, in the thread that shows errors
            self.broken = error
            self._post(Broke())
