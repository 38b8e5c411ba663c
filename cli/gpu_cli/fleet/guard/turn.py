"""What the guard does: it looks at everything that lives, time and again, and ends what has to end.

It enforces idleness, deadline and budget from this side, ends what a killed command left behind, sees detached starts
(`gpu up --no-wait`) through, and writes down what ended by itself. The supervisor on the node has the first turn: the
guard acts when it is `GUARD_GRACE_S` late. It also holds the forwarders of what is not reached directly, and looks for
what runs without being on record as alive.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from threading import Event

from gpu_cli.fleet.away.beats import Heartbeats
from gpu_cli.fleet.deployment import STARTING, Deployment, State
from gpu_cli.fleet.end.stops import GUARD_GRACE_S, ends_at_latest, idle_for_s
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.exposed import Exposed
from gpu_cli.fleet.guard.lane import Lane, logged
from gpu_cli.fleet.guard.orphans import Sweeps
from gpu_cli.fleet.money.budget_groups import end_of
from gpu_cli.fleet.reach.forwarding import Forwarding
from gpu_providers.base import Kind
from gpu_providers.errors import ProviderError

TURN_S = 2.0
"""How often it sees what is due."""
FORWARD_EVERY_S = 10.0
"""How often it stands up forwarders although nothing on record has changed: what kept one from standing may have."""
LOOKS = 8
"""At one cloud in one turn, those first that have to be ended first."""
SELDOM = 3
"""So much more seldom than others what is ready is looked at: it changes seldom, and when it may have to be ended is
known. Not what scales to zero: what it costs is known from looks alone.
"""
WAIT_S = 0.2
"""For lanes, before it sees whether something new is to be forwarded to: clients wait for their port."""


class Guard:
    """One turn after the other over everything that lives. What takes time is done in lanes, one for each cloud."""

    def __init__(self, fleet: Fleet, stop: Event) -> None:
        self._fleet = fleet
        self._stop = stop
        self._lanes: dict[str, Lane] = {}
        self._rests: dict[str, tuple[float, float]] = {}
        """From when until when each is left alone."""
        self._live: Sequence[Deployment] = ()
        self._version: object = None
        self._forward_at = -math.inf
        self._forwarding = Forwarding(fleet)
        self._heartbeats = Heartbeats(fleet)
        self._sweeps = Sweeps(fleet)
        self._exposed = Exposed(fleet)

    def turn(self) -> bool:
        """See to everything once, or to some of it when told to stop. False when nothing lives and nothing is to do.

        Looks are waited for, but not for long: a slow cloud takes as long as it takes, and the others have their turns.
        """
        live = self.forward()
        self._heartbeats.tell(live)
        self._sweeps.begin_if_due()
        names, now = {deployment.resource_name for deployment in live}, self._fleet.clock.now()
        self._rests = {name: rest for name, rest in self._rests.items() if name in names}
        for provider, theirs in _by_provider(live).items():
            lane = self._lane(provider)
            if lane.is_free and (due := [one for one in theirs if self._is_due(lane, one)]):
                first = sorted(due, key=lambda one: self._may_end_at(one, now))[:LOOKS]
                self._look_at(lane, first, theirs)
        with logged("metrics"):
            self._exposed.attend()
        self._await_lanes()
        return bool(live) or any(lane.is_busy for lane in self._lanes.values())

    def forward(self) -> Sequence[Deployment]:
        """Forward to all that live and are not reached directly, and to nothing else; what lives, with its ports."""
        version, now = self._fleet.store.version(), self._fleet.clock.now()
        if version != self._version or now >= self._forward_at:
            live = self._fleet.store.live()
            self._forwarding.close_all_but(live)
            # Ports on record first: a new one might be one of theirs.
            for deployment in sorted(live, key=lambda one: one.local_port is None):
                with logged(deployment.resource_name):
                    self._forwarding.stand(deployment)
            self._live, self._version = live, version
            self._forward_at = now + FORWARD_EVERY_S
        return self._live

    def make_room(self) -> None:
        """Let go of the ports, for the next guard, and of what goes through them from here."""
        self._exposed.close()
        self._forwarding.stop_listening()
        self._close_lanes()

    def see_off(self) -> None:
        """Come back when the connections have ended: with their clients, or with their deployments."""
        while self._forwarding.carries:
            with logged("guard"):
                self._forwarding.close_all_but(self._fleet.store.live())
            self._fleet.clock.sleep(TURN_S)

    def close(self) -> None:
        """Look at nothing and forward to nothing any more."""
        self._exposed.close()
        self._close_lanes()
        self._forwarding.close()

    def _is_due(self, lane: Lane, deployment: Deployment) -> bool:
        """Whether it may be looked at again; also when the clock has been set back to before the last look."""
        since, until = self._rests.get(deployment.resource_name, (math.inf, math.inf))
        return not lane.is_busy_with(deployment) and not since <= self._fleet.clock.now() < until

    def _look_at(self, lane: Lane, due: Sequence[Deployment], theirs: Sequence[Deployment]) -> None:
        now = self._fleet.clock.now()
        for deployment in due:
            with contextlib.suppress(ProviderError):
                self._rests[deployment.resource_name] = now, self._rests_until(deployment, len(theirs), now)
        lane.look_at(due, theirs)

    def _rests_until(self, deployment: Deployment, neighbours: int, now: float) -> float:
        """Clouds limit the requests of an account: the more there are at one, the more seldom each is looked at, but in
        time for its end. Raises ProviderError for a provider that does not load, which is not asked anything.
        """
        poll_s = self._fleet.provider(deployment.provider).poll_interval_s
        steady = deployment.state is State.READY and deployment.kind is not Kind.SERVERLESS
        wait_s = neighbours * poll_s * (SELDOM if steady else 1)
        return max(now + poll_s, min(now + wait_s, self._may_end_at(deployment, now)))

    def _may_end_at(self, deployment: Deployment, now: float) -> float:
        """When it will have to be ended at the soonest, as far as that is known beforehand."""
        ends = [ends_at_latest(deployment, end_of(self._fleet.store, deployment, now))]
        if deployment.state in STARTING:
            ends.append(deployment.start_deadline_at + GUARD_GRACE_S)
        if (idle_for := idle_for_s(deployment, now)) is not None:
            ends.append(now - idle_for + deployment.idle_s + GUARD_GRACE_S)
        return min(ends)

    def _lane(self, provider: str) -> Lane:
        if provider not in self._lanes:
            self._lanes[provider] = Lane(self._fleet, self._stop)
        return self._lanes[provider]

    def _close_lanes(self) -> None:
        while self._lanes:
            self._lanes.popitem()[1].close()

    def _await_lanes(self) -> None:
        give_up_at = time.monotonic() + TURN_S
        while (busy := [lane for lane in self._lanes.values() if not lane.is_free]) and time.monotonic() < give_up_at:
            if not busy[0].wait(WAIT_S):
                self.forward()


def _by_provider(live: Sequence[Deployment]) -> Mapping[str, Sequence[Deployment]]:
    found: dict[str, list[Deployment]] = {}
    for deployment in live:
        found.setdefault(deployment.provider, []).append(deployment)
    return found
