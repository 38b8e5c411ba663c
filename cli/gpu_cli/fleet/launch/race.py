"""A race (`--race N`): several offers are launched at once; the first that is healthy is kept, the others destroyed."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import ABANDONED, LOST_RACE, STARTING, Deployment, State
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard
from gpu_cli.fleet.interrupt import shielded
from gpu_cli.fleet.launch.attempts import why_nothing
from gpu_cli.fleet.launch.failover import tell_failure
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt, must_stop
from gpu_cli.fleet.launch.race_names import racer_name
from gpu_cli.fleet.launch.race_orders import Orders
from gpu_cli.fleet.launch.racer import Racer
from gpu_cli.fleet.launch.start import still_wanted
from gpu_cli.fleet.store import NameTaken, StateMoved, StoreCorrupt
from gpu_cli.locks import Lock, released
from gpu_cli.planner.rank import Candidate
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_usd
from gpu_providers.base import Kind

POLL_S = 0.2
LOCK_TRIES = 5
CALLED_OFF = "the race was called off"


def race(
    fleet: Fleet, wanted: Wanted, candidates: Sequence[Candidate], progress: Progress, tried: list[Attempt]
) -> Deployment:
    """One round: of `wanted.race` that are launched at once the first that is healthy, by the name that is wanted.

    One that fails is replaced; never are more than so many ordered and not yet verified gone. Budget, start deadline
    and attempts hold for all of it together. Until one is kept all are tied to this process, under names of their own
    (`racer_name`). The caller holds the launch lock of the name. `tried` gets what this round does. Raises as
    `failover.launch` does, and then nothing is left, or the error says what is.
    """
    rented = [candidate for candidate in candidates if candidate.offer.kind is not Kind.PROCESS]
    if not rented:
        message = "there is nothing to race with: what fits runs on this machine"
        raise UserError(Exit.BAD_INPUT, "nothing-to-race", message, hint="leave out --race")
    with _lanes(fleet, wanted) as names:
        ensure_guard(fleet)
        return _Race(fleet, wanted, rented, progress, tried, names).run()


@contextlib.contextmanager
def _lanes(fleet: Fleet, wanted: Wanted) -> Iterator[list[str]]:
    """The names for the racers, with their launch locks. What a killed race has left under one is cleared away."""
    names = [racer_name(wanted.name, number + 1) for number in range(wanted.race)]
    with contextlib.ExitStack() as held:
        for name in names:
            acquired = _acquire(fleet, held.enter_context(released(fleet.launch_lock(name))))
            living = fleet.store.find_live(name)
            if not acquired or (living and not living.tied):
                raise _taken(name)
            if living:
                tear_down(fleet, living, ABANDONED)
        yield names


def _acquire(fleet: Fleet, lock: Lock) -> bool:
    """Those who look whether it is held have it for a moment."""
    for _ in range(LOCK_TRIES):
        if lock.try_acquire():
            return True
        fleet.clock.sleep(POLL_S)
    return False


class _Race:
    """Its racers, each with a name for as long as it runs."""

    def __init__(
        self,
        fleet: Fleet,
        wanted: Wanted,
        candidates: Sequence[Candidate],
        progress: Progress,
        tried: list[Attempt],
        names: list[str],
    ) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._candidates = candidates
        self._progress = progress
        self._tried = tried
        self._first = len(tried)
        self._names = names
        self._running: list[Racer] = []
        self._unconfirmed: list[UserError] = []
        self._orders = Orders(fleet, wanted, candidates, tried)

    def run(self) -> Deployment:
        """The one that is kept."""
        try:
            winner = self._first_ready()
            self._end([racer for racer in self._running if racer is not winner], LOST_RACE)
            return self._keep(winner)
        except BaseException as error:
            with shielded():
                self._end(self._running, "interrupted" if isinstance(error, KeyboardInterrupt) else CALLED_OFF)
            raise

    def _first_ready(self) -> Racer:
        self._progress.stage("race")
        self._order()
        if len(self._running) < self._wanted.race:
            self._progress.note(f"only {len(self._running)} of {self._wanted.race} race: there is no more to order")
        while self._running:
            self._fleet.clock.sleep(POLL_S)
            self._progress.detail(" | ".join(racer.line() for racer in self._running))
            ended = [racer for racer in self._running if not racer.is_alive()]
            if winner := next((racer for racer in ended if racer.made), None):
                return winner
            for racer in ended:
                self._take_out(racer)
            if ended:
                self._order()
        raise why_nothing(self._now_tried or self._tried)

    def _take_out(self, racer: Racer) -> None:
        """One that failed; raises when that is the end of the race."""
        error = racer.error
        if error and not (isinstance(error, UserError) and error.exit_status is Exit.LIMIT_REACHED):
            raise error
        self._book(racer)
        if must_stop(self._now_tried):
            raise why_nothing(self._now_tried)
        tell_failure(self._progress, self._tried[-1])

    def _order(self) -> None:
        """As many as there is room for."""
        for candidate, limits in self._orders.next(self._tried, self._running):
            self._start(candidate, limits)

    def _start(self, candidate: Candidate, limits: Limits) -> None:
        taken = {racer.wanted.name for racer in self._running}
        name = next(name for name in self._names if name not in taken)
        wanted = replace(self._wanted, name=name, kept_as=self._wanted.name, limits=limits, tied=True)
        racer = Racer(self._fleet, wanted, candidate, self._candidates, self._progress)
        self._running.append(racer)
        racer.start()

    def _end(self, racers: Sequence[Racer], reason: str) -> None:
        """Come back when nothing is left of them. Raises UserError CLEANUP_UNCONFIRMED when that is not sure of any."""
        while under_way := [racer for racer in racers if racer.is_alive()]:
            for racer in under_way:
                self._tell(racer, reason)
            self._fleet.clock.sleep(POLL_S)
        for racer in list(racers):
            self._tear_down(racer, reason)
            self._book(racer, reason)
        if self._unconfirmed:
            raise _none_confirmed(self._unconfirmed)

    def _tell(self, racer: Racer, reason: str) -> None:
        """It sees at its next look that it is not wanted; one that is not on record yet is told the next time."""
        with contextlib.suppress(KeyError, StateMoved, UserError, StoreCorrupt):
            deployment = self._fleet.store.get(racer.resource_name)
            if deployment.state in STARTING or deployment.state is State.READY:
                now = self._fleet.clock.now()
                self._fleet.store.move(deployment, State.TERMINATING, at=now, reason=reason, note=reason)

    def _tear_down(self, racer: Racer, reason: str) -> None:
        """One that is healthy too, or whose thread did not do it."""
        if racer.attempt and racer.attempt.error:
            return
        try:
            deployment = racer.made or self._fleet.store.get(racer.resource_name)
            if deployment.is_live:
                tear_down(self._fleet, deployment, reason)
        except (KeyError, StoreCorrupt):  # nothing was ordered, or it is destroyed and cannot be written down
            return
        except UserError as error:
            self._note_unconfirmed(error)

    def _keep(self, winner: Racer) -> Deployment:
        """By the name that is wanted, and with what the others have left of the budget."""
        others_usd, budget_usd = _cost_usd(self._now_tried), self._wanted.limits.budget_usd
        left_usd = None if budget_usd is None else budget_usd - _cost_usd(self._tried)
        kept = self._renamed(winner, left_usd)
        self._tried.append(winner.as_attempt(""))  # and it may still be interrupted: it stays among those that run
        cost = f"{format_usd(_cost_usd(self._now_tried))}, of which {format_usd(others_usd)} for what was not kept"
        self._progress.note(f"{winner.offer.offer_id} has won the race, which cost {cost}")
        return kept

    def _renamed(self, winner: Racer, budget_usd: float | None) -> Deployment:
        store, name = self._fleet.store, self._wanted.name
        deployment = still_wanted(self._fleet, winner.resource_name)
        try:
            return store.rename(deployment, name, tied=self._wanted.tied, budget_usd=budget_usd)
        except StateMoved:
            still_wanted(self._fleet, winner.resource_name)
            raise
        except NameTaken as error:
            raise _taken(name) from error

    def _book(self, racer: Racer, why: str = "") -> None:
        """It has ended: its place and its name are free."""
        self._running.remove(racer)
        attempt = racer.as_attempt(why)
        self._tried.append(attempt)
        self._note_unconfirmed(attempt.error)

    def _note_unconfirmed(self, error: Exception | None) -> None:
        if isinstance(error, UserError) and error.exit_status is Exit.CLEANUP_UNCONFIRMED:
            self._unconfirmed.append(error)

    @property
    def _now_tried(self) -> Sequence[Attempt]:
        return self._tried[self._first :]


def _cost_usd(tried: Sequence[Attempt]) -> float:
    return sum(attempt.cost_usd for attempt in tried)


def _taken(name: str) -> UserError:
    hint = f"take it down (gpu down {name}), or choose another name (--name)"
    return UserError(Exit.BAD_INPUT, "name-taken", f"{name} is running already", hint=hint)


def _none_confirmed(errors: Sequence[UserError]) -> UserError:
    return UserError(
        Exit.CLEANUP_UNCONFIRMED,
        "cleanup-unconfirmed",
        "; ".join(error.message for error in errors),
        hint="; ".join(error.hint for error in errors),
        still_billing=[name for error in errors for name in error.still_billing],
    )
