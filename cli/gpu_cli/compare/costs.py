"""What a volume costs in a month, by the way in which it is paid for. Nothing here knows of clouds.

Every way tells of a volume what it costs, which never falls when more is asked; how many deployments that takes in the
busiest hour, and how much of what is paid for works; the factor on the volume up to which ONE deployment does (the
second begins above it, the third above twice that); and its burdens, all that decides what it costs for such requests,
whatever their number: of two ways of one kind the one with no greater burden is never the dearer one.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from gpu_cli.compare.capacity import Capacity
from gpu_cli.compare.volume import Volume

_MANY = 50.0
"""e to this is more than can be told from infinity here."""


@dataclass(frozen=True)
class PerToken:
    """An API, whose deployments are somebody else's business."""

    usd_per_million_input_tokens: float
    usd_per_million_output_tokens: float

    def usd_per_month(self, volume: Volume) -> float:
        """Of prompts and answers."""
        return volume.requests_per_month * self._usd_per_request(volume)

    def deployments(self, _volume: Volume) -> None:
        """None."""

    def utilization(self, _volume: Volume) -> None:
        """None."""

    def filled_by(self, _volume: Volume) -> None:
        """None."""

    def burdens(self, volume: Volume) -> tuple[float, ...]:
        """The price."""
        return (self._usd_per_request(volume),)

    def _usd_per_request(self, volume: Volume) -> float:
        input_usd = volume.input_tokens * self.usd_per_million_input_tokens
        return (input_usd + volume.output_tokens * self.usd_per_million_output_tokens) / 1e6


@dataclass(frozen=True)
class PerDeployment:
    """Rented or owned, and paid for whether it works or not."""

    capacity: Capacity
    usd_per_month_each: float
    hours_per_month: float
    """That each is paid for."""

    def usd_per_month(self, volume: Volume) -> float:
        """Of as many as it takes in the busiest hour, all the time."""
        return self.deployments(volume) * self.usd_per_month_each

    def deployments(self, volume: Volume) -> int:
        """At least one."""
        return self.capacity.deployments(volume)

    def utilization(self, volume: Volume) -> float:
        """Over all hours that are paid for."""
        worked = self.capacity.busy(volume) * volume.hours_per_month
        return worked / (self.deployments(volume) * self.hours_per_month)

    def filled_by(self, volume: Volume) -> float:
        """By its busiest hour."""
        return self.capacity.filled_by(volume)

    def burdens(self, volume: Volume) -> tuple[float, ...]:
        """Its price, and how slow it is."""
        return (self.usd_per_month_each, self.capacity.busy(volume))


@dataclass(frozen=True)
class PerActiveSecond:
    """Serverless: a worker is there, and bills, from a first request on until nobody has asked for a while.

    Where requests come independently of each other, at rate r, and each keeps a worker for a time h (its answer, and
    the idle time after it), the time during which some worker is there lasts (e^(rh) - 1)/r on average: the busy period
    of a queue with unlimited servers, M/G/inf (L. Takacs, Introduction to the Theory of Queues, 1962). Then it is 1/r
    until the next request. With a cold start c before each, a worker is there for the share

        1 - 1 / (rc + e^(rh))

    of the time. Where the busiest hour takes more than one, the number follows the demand, and to round it up at every
    moment adds less than one to the average.
    """

    capacity: Capacity
    usd_per_hour: float
    """While a worker is there."""
    cold_start_s: float
    """That is billed."""
    idle_s: float
    """For which a worker stays without a request."""

    def usd_per_month(self, volume: Volume) -> float:
        """Nothing in hours without use, but for the idle time that they begin with."""
        idle_hours = 0.0 if volume.all_day else self.idle_s / 3600 * volume.days_per_month
        return self.workers(volume) * self.usd_per_hour * (volume.hours_per_month + idle_hours)

    def deployments(self, volume: Volume) -> int:
        """At least one."""
        return self.capacity.deployments(volume)

    def utilization(self, volume: Volume) -> float:
        """Of the time that workers are there."""
        return self.capacity.busy(volume) / self.workers(volume)

    def filled_by(self, volume: Volume) -> float:
        """By its busiest hour."""
        return self.capacity.filled_by(volume)

    def burdens(self, volume: Volume) -> tuple[float, ...]:
        """Its price, how slow it is, and how long it bills for nothing."""
        slow = (self.capacity.busy(volume), self.capacity.alone_s(volume))
        return (self.usd_per_hour, *slow, self.cold_start_s, self.idle_s)

    def workers(self, volume: Volume) -> float:
        """On average over the hours of use."""
        busy, most = self.capacity.busy(volume), self.capacity.deployments(volume)
        return min(most, busy + 1) if most > 1 else max(busy, 1 - 1 / self._requests_per_cycle(volume))

    def cold_starts_per_day(self, volume: Volume) -> float:
        """Requests that find no worker, and wait for one."""
        return volume.requests_per_day / self._requests_per_cycle(volume)

    def _requests_per_cycle(self, volume: Volume) -> float:
        """How many come from the start of one worker to that of the next."""
        per_s = volume.requests_per_s
        held = per_s * (self.capacity.alone_s(volume) + self.idle_s)
        return per_s * self.cold_start_s + math.exp(min(held, _MANY))


Cost: TypeAlias = PerToken | PerDeployment | PerActiveSecond
"""One way to pay."""
