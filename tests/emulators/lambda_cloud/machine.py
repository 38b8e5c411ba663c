"""The machine of an instance, as far as the cloud sees it: it takes its time to boot, and it gets an address."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
    mount_points: Mapping[str, str] = field(default_factory=dict)
    """Of file systems, by their ids."""
    ruleset_ids: Sequence[str] = ()
    """Of its firewall."""


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

    def tick(self) -> None:
        """Lets what is due happen."""

    def stop(self) -> None:
        """It is taken away, with all that is on it."""

    @property
    def is_up(self) -> bool:
        return self._clock.now() >= self.up_at

    @property
    def ip(self) -> str | None:
        """Its address, once the cloud knows it."""
        return self.address if self._clock.now() >= self._ip_at else None


def free_address(taken: Collection[str], network: int) -> str:
    """The first that no machine of that network has: addresses come back, as the real ones do."""
    return next(address for number in count(1) if (address := f"127.77.{network}.{number}") not in taken)
