"""The machine of an instance. This one is a stand-in: it takes its time, it gets an address, and nothing listens there.

A machine that can be logged in to is a subclass that starts its sshd in `start` and ends it in `stop`; `order` has all
that a launch says of it, and `LambdaEmulator.machine` is the one place where machines are made.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

from ..clock import Clock
from ..container_spec import Boot

IP_AFTER = 0.5
"""Of the boot: the address is known some time before the machine is up (reports of clients; how early varies)."""


@dataclass(frozen=True)
class Order:
    """What a machine is made from."""

    type_name: str
    region: str
    image: str
    """A family or an id."""
    public_key: str
    """Of whoever may log in as `ubuntu`."""
    hostname: str
    user_data: str


class Machine:
    """A machine that boots from when it is made. Called under the cloud's lock."""

    def __init__(self, order: Order, address: str, boot: Boot, clock: Clock) -> None:
        """`address`: its own, of loopback, nobody else's as long as it exists."""
        self.order = order
        self.address = address
        boot_s = math.inf if boot.dead else boot.pull_s
        self.up_at = clock.now() + boot_s
        self._ip_at = clock.now() + boot_s * IP_AFTER
        self._clock = clock

    def start(self) -> None:
        """The boot is ordered."""

    def stop(self) -> None:
        """It is taken away, with all that is on it."""

    @property
    def is_up(self) -> bool:
        return self._clock.now() >= self.up_at

    @property
    def ip(self) -> str | None:
        """Its address, once the cloud knows it."""
        return self.address if self._clock.now() >= self._ip_at else None


def free_address(taken: Collection[str]) -> str:
    """The first that no machine has: addresses come back, as the real ones do."""
    return next(address for address in map(_address, count(1)) if address not in taken)


def _address(number: int) -> str:
    return f"127.77.{number // 256}.{number % 256}"
