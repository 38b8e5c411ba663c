"""What an emulated account pays: one meter for each thing that costs, and the balance that they use up."""

from dataclasses import dataclass
from typing import Any

from .clock import Clock

HOURS_PER_MONTH = 730.0
"""The month that clouds turn monthly prices into hourly ones with."""


@dataclass
class Meter:
    """One resource. It runs at its rate until it is closed; a stopped resource may go on at a lower rate."""

    name: str
    usd_per_hour: float
    since: float
    closed_usd: float = 0.0
    """Charged before `since`."""
    alive: bool = True

    def usd(self, now: float) -> float:
        return self.closed_usd + (max(0.0, now - self.since) * self.usd_per_hour / 3600 if self.alive else 0.0)

    def settle(self, now: float, usd_per_hour: float) -> None:
        self.closed_usd = self.usd(now)
        self.since = now
        self.usd_per_hour = usd_per_hour


class Bill:
    """By time, without rounding: a resource costs from its creation until it is gone.

    Not locked: the cloud's lock is.
    """

    def __init__(self, clock: Clock, balance_usd: float) -> None:
        self._clock = clock
        self._deposited_usd = balance_usd
        self._meters: dict[str, Meter] = {}

    def start(self, id: str, name: str, usd_per_hour: float) -> None:  # noqa: A002
        self._meters[id] = Meter(name, usd_per_hour, self._clock.now())

    def rate(self, id: str, usd_per_hour: float) -> None:  # noqa: A002
        """What it costs from now on."""
        self._meters[id].settle(self._clock.now(), usd_per_hour)

    def stop(self, id: str, at: float | None = None) -> None:  # noqa: A002
        """It is gone since `at` (default: now) and costs no more."""
        meter = self._meters[id]
        if meter.alive:
            meter.settle(self._clock.now() if at is None else at, 0.0)
            meter.alive = False

    def charge(self, id: str, usd: float) -> None:  # noqa: A002
        """Once, for what is not a matter of time."""
        self._meters[id].closed_usd += usd

    def alive(self) -> list[str]:
        """Ids of what still costs, or would."""
        return [id_ for id_, meter in self._meters.items() if meter.alive]

    def usd(self) -> float:
        now = self._clock.now()
        return sum(meter.usd(now) for meter in self._meters.values())

    def usd_per_hour(self) -> float:
        return sum(meter.usd_per_hour for meter in self._meters.values() if meter.alive)

    def balance_usd(self) -> float:
        return self._deposited_usd - self.usd()

    def as_json(self) -> dict[str, Any]:
        """What `GET /_emulator/bill` answers."""
        now = self._clock.now()
        resources = [
            {"id": id_, "name": meter.name, "alive": meter.alive, "usd": meter.usd(now)}
            for id_, meter in self._meters.items()
        ]
        return {"usd": sum(resource["usd"] for resource in resources), "resources": resources}
