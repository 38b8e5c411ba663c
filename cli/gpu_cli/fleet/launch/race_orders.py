"""Which offers of a plan race next: all in different places, for what is left of the limits."""

from collections.abc import Sequence
from dataclasses import replace

from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.failover import limits_left
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt, for_good, why_skipped
from gpu_cli.fleet.launch.racer import Racer
from gpu_cli.planner.rank import Candidate
from gpu_providers.base import Offer


class Orders:
    """Of one race. Each offer is ordered once."""

    def __init__(
        self, fleet: Fleet, wanted: Wanted, candidates: Sequence[Candidate], tried_before: Sequence[Attempt]
    ) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._left = list(candidates)
        self._before = tuple(tried_before)
        self._ends_at = fleet.clock.now() + wanted.limits.start_deadline_s

    def next(self, tried: Sequence[Attempt], running: Sequence[Racer]) -> Sequence[tuple[Candidate, Limits]]:
        """The best that are left, as many as there is room for beside those `running`, with the limits of each.

        `tried` is all there was, before this race too. Raises UserError LIMIT_REACHED when the money left pays for no
        start, and nothing runs that has got some.
        """
        batch = self._batch(tried, running)
        try:
            limits = [self._limits(candidate.offer, len(batch), tried, running) for candidate in batch]
        except UserError:
            if not running:
                raise
            return []
        for candidate in batch:
            self._left.remove(candidate)
        return list(zip(batch, limits, strict=True))

    def _batch(self, tried: Sequence[Attempt], running: Sequence[Racer]) -> Sequence[Candidate]:
        room, known = self._room(tried, running), [*for_good(self._before), *tried[len(self._before) :]]
        taken = {_place(racer.offer) for racer in running}
        batch: list[Candidate] = []
        for candidate in self._left:
            place = _place(candidate.offer)
            if len(batch) < room and place not in taken and not why_skipped(candidate.offer, known):
                batch.append(candidate)
                taken.add(place)
        return batch

    def _room(self, tried: Sequence[Attempt], running: Sequence[Racer]) -> int:
        """For how many more; none when the time to start is up."""
        if self._fleet.clock.now() >= self._ends_at:
            return 0
        free, attempts = self._wanted.race - len(running), self._wanted.attempts
        return free if attempts is None else min(free, attempts - len(tried) - len(running))

    def _limits(self, offer: Offer, orders: int, tried: Sequence[Attempt], running: Sequence[Racer]) -> Limits:
        """Of one of so many new orders: each gets an equal part of the money that is neither spent nor given away."""
        limits = replace(self._wanted.limits, start_deadline_s=self._ends_at - self._fleet.clock.now())
        if limits.budget_usd is not None:
            spent_usd = sum(attempt.cost_usd for attempt in tried)
            given_usd = sum(racer.wanted.limits.budget_usd or 0.0 for racer in running)
            limits = replace(limits, budget_usd=(limits.budget_usd - spent_usd - given_usd) / orders)
        return limits_left(self._fleet, replace(self._wanted, limits=limits, attempts=None), offer, (), ())


def _place(offer: Offer) -> tuple[str, str, str]:
    """Two in one place would probably fail together."""
    return offer.provider, offer.region, offer.host
