"""One of those that race: an offer that is launched in a thread of its own, with a store and clients of its own."""

from collections.abc import Sequence
from contextlib import closing
from threading import Thread

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.failover import cost_of, new_name, try_one
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt
from gpu_cli.fleet.recover import open_fleet
from gpu_cli.planner.rank import Candidate
from gpu_cli.ui.output import print_message
from gpu_cli.ui.progress import Progress
from gpu_cli.ui.stages import Stages


class Racer(Thread):
    """While it `is_alive` it may order; after that `made` is healthy, or nothing is left, or its error says what is."""

    def __init__(
        self, fleet: Fleet, wanted: Wanted, candidate: Candidate, candidates: Sequence[Candidate], progress: Progress
    ) -> None:
        super().__init__()
        self.wanted = wanted
        self.offer = candidate.offer
        self.resource_name = new_name(wanted.kept_as)
        self.made: Deployment | None = None
        self.attempt: Attempt | None = None
        """None when it ended for a reason that says nothing of its offer."""
        self.error: BaseException | None = None
        """That reason."""
        self._fleet = fleet
        self._candidate = candidate
        self._candidates = candidates
        self._began_at = fleet.clock.now()
        self._stages = Stages(lambda text: progress.note(f"{self.offer.offer_id}: {text}"))

    def run(self) -> None:
        """In its thread."""
        try:
            fleet = open_fleet(self._fleet.paths, self._fleet.environ, self._fleet.clock, print_message)
            with closing(fleet.store):
                self.made = self._launched(fleet)
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits for this one
            self.error = error

    def line(self) -> str:
        """Where it is, and how far."""
        return " ".join([self.offer.offer_id, *self._stages.line().split()])

    def as_attempt(self, why: str) -> Attempt:
        """What has come of it, now that it has ended; `why` it was ended, if it was."""
        if self.attempt and (self.attempt.error or not why):
            return self.attempt
        error = self.error if isinstance(self.error, UserError) and not why else None
        seconds = self._fleet.clock.now() - self._began_at
        return Attempt(self.offer, error, seconds, cost_of(self._fleet, self.resource_name), why)

    def _launched(self, fleet: Fleet) -> Deployment | None:
        tried: list[Attempt] = []
        plan, name = self._candidates, self.resource_name
        made = try_one(fleet, self.wanted, self._candidate, plan, self._stages, tried, resource_name=name)
        self.attempt = tried[-1]
        if made:
            self._stages.close()
        return made
