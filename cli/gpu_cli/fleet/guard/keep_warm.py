"""Keeping a worker for as long as its user wants it, where its cloud would end an idle one sooner.

A cloud may end idle workers after an hour at the latest, and a user may want them for two. Then the guard asks the
worker for its metrics now and then, which to the cloud is a request like any other, and stops asking early enough for
the cloud to end it in time. All fails on the cheap side: without a guard the cloud ends it sooner, and never later; and
what is asked is only what runs, so that nothing is woken.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable, Work
from gpu_providers.base import Kind, Resource
from gpu_providers.errors import ProviderError

TOUCH_EVERY_S = 300.0
LATE_S = 60.0
"""How late a cloud may be with ending an idle worker."""


@dataclass(frozen=True)
class Limits:
    """After how long without work a worker is to end, and does."""

    idle_s: float
    """As its user wants it."""
    window_s: float
    """As its cloud ends it, counted from the last request of any kind."""


@dataclass(frozen=True)
class Warmth:
    """What is known of the worker that runs. Times are seconds since the epoch."""

    worked_at: float
    """Its last work was no earlier."""
    touched_at: float
    """When it was last asked, with or without an answer, or first seen."""
    answered_at: float = -math.inf
    is_over: bool = False
    """It was still there after it had been let go, and had done nothing: its cloud ends it, or is late."""


def should_touch(warmth: Warmth, now: float, limits: Limits) -> bool:
    """Whether to ask it for its metrics, which keeps it for another `window_s`: never beyond `idle_s` after its work.

    One that is still there `window_s` after it was let go has been used meanwhile. Looking how keeps it once more, and
    so is done only where even that is not too long, and not again when it did nothing.
    """
    if warmth.is_over:
        return False
    silent_s = now - warmth.touched_at
    if _is_wanted(warmth, now, limits):
        return silent_s >= min(TOUCH_EVERY_S, limits.window_s / 2)
    return limits.idle_s >= 2 * limits.window_s and silent_s >= limits.window_s + LATE_S


def touched(warmth: Warmth, now: float, limits: Limits, *, is_busy: bool, has_worked: bool) -> Warmth:
    """What is known once it has answered: that it works, or has since it last answered.

    Such work counts from as early as it can have been, in the time for which the cloud has kept it since.
    """
    since = max(warmth.worked_at, warmth.answered_at, now - limits.window_s) if has_worked else warmth.worked_at
    is_over = not (is_busy or has_worked or _is_wanted(warmth, now, limits))
    return Warmth(now if is_busy else since, now, now, is_over=is_over)


def _is_wanted(warmth: Warmth, now: float, limits: Limits) -> bool:
    """Whether its cloud would end it too early if it were let go."""
    return now - warmth.worked_at < limits.idle_s - limits.window_s


def is_kept_warm(deployment: Deployment, window_s: float) -> bool:
    """Whether the guard keeps its worker beyond its cloud's window. One of several could not be told from the others:
    they are left to their cloud.
    """
    return deployment.kind is Kind.SERVERLESS and deployment.most_workers == 1 and window_s < deployment.idle_s


class KeepWarm:
    """The workers of all deployments, as far as this guard has seen them."""

    def __init__(self, fleet: Fleet, client_of: Callable[[Deployment], EngineClient]) -> None:
        self._fleet = fleet
        self._client_of = client_of
        self._known: dict[str, Warmth | None] = {}
        """By resource name; None where no worker runs."""

    def attend(self, deployment: Deployment, resource: Resource) -> None:
        """Touch its worker if that is due."""
        window_s = resource.native_idle_s
        if deployment.state is not State.READY or window_s is None or not is_kept_warm(deployment, window_s):
            return
        limits, warmth = Limits(deployment.idle_s, window_s), self._seen(deployment, resource)
        if warmth and should_touch(warmth, self._fleet.clock.now(), limits):
            self._known[deployment.resource_name] = self._touched(deployment, warmth, limits)

    def forget_all_but(self, names: Collection[str]) -> None:
        """Of all others nothing lives."""
        self._known = {name: warmth for name, warmth in self._known.items() if name in names}

    def _seen(self, deployment: Deployment, resource: Resource) -> Warmth | None:
        """As it is known, with what the cloud says now: one that was not there before has been woken by work."""
        name, now = deployment.resource_name, self._fleet.clock.now()
        is_new = name in self._known and self._known[name] is None
        if resource.price_usd_per_hour <= 0:
            self._known[name] = None
        elif is_new:
            self._known[name] = Warmth(now, now)
            self._fleet.store.update(name, active_at=now)
        elif name not in self._known:
            self._known[name] = Warmth(now if deployment.active_at is None else deployment.active_at, now)
        return self._known[name]

    def _touched(self, deployment: Deployment, warmth: Warmth, limits: Limits) -> Warmth:
        work, now = self._ask(deployment), self._fleet.clock.now()
        if work is None:
            return replace(warmth, touched_at=now)
        is_busy, has_worked = bool(work.running or work.waiting), work.done != deployment.work_done
        known = touched(warmth, now, limits, is_busy=is_busy, has_worked=has_worked)
        self._fleet.store.update(deployment.resource_name, active_at=known.worked_at, work_done=work.done)
        return known

    def _ask(self, deployment: Deployment) -> Work | None:
        """None without an answer: it may still be loading."""
        try:
            return self._client_of(deployment).work()
        except (EngineUnreachable, EngineRefused, UserError, ProviderError):  # the last two without its key
            return None
