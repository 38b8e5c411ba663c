"""All that lives, as it is seen at one time."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.end.stops import Stop, idle_for_s
from gpu_cli.fleet.gauges.readings import Gauges


@dataclass(frozen=True)
class Seen:
    """One deployment: what its engine does, and what will end it."""

    gauges: Gauges
    stops: tuple[Stop, ...]

    @property
    def deployment(self) -> Deployment:
        """As it is on record."""
        return self.gauges.deployment

    def next_end(self, now: float) -> tuple[str, float] | None:
        """Which of its armed stops ends it first if it gets no work from now on, and in how many seconds; None where
        none does at a time that is known.
        """
        idle_s = idle_for_s(self.deployment, now)
        ends = [(stop.at, stop.kind) for stop in self.stops if stop.armed and stop.at is not None]
        ends += [
            (now + stop.after_s - idle_s, stop.kind)
            for stop in self.stops
            if stop.armed and stop.after_s is not None and idle_s is not None
        ]
        at, kind = min(ends, default=(None, ""))
        return None if at is None else (kind, max(0.0, at - now))


@dataclass(frozen=True)
class Sight:
    """Everything that lives, in the order of the record."""

    at: float
    """Seconds since the epoch, UTC."""
    seen: tuple[Seen, ...]

    def spent_usd(self) -> float:
        """By all of them."""
        return sum(one.deployment.spent_usd(self.at) for one in self.seen)

    def usd_per_hour(self) -> float:
        """What they bill at this moment."""
        return sum(one.deployment.current_usd_per_hour for one in self.seen)


def problems(sight: Sight) -> Sequence[str]:
    """One line for each that does not tell how it is."""
    return [f"{one.deployment.name}: {one.gauges.problem}" for one in sight.seen if one.gauges.problem]
