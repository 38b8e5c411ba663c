"""Lambda's instances: their life and their price.

What the sources say, and this does:
- An instance is booting, then active; the address comes in between. It may be unhealthy (Lambda's OpenAPI file).
- It bills by the minute, from when it is up until it is terminated, idle or not (docs.lambda.ai, "Billing"); one that
  has become unhealthy bills as well, as a survey of 2026-08 says. A minute counts once it has begun.
- What is terminated leaves the list. Whether its id is unknown then or shows `terminated` is not documented: both can
  be had.
"""

import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..lifetime import Lifetime
from .catalogue import TYPES
from .linux_machine import LinuxMachine
from .machine import Machine, Order, free_address

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

BOOTING, ACTIVE, UNHEALTHY = "booting", "active", "unhealthy"
TERMINATING, TERMINATED = "terminating", "terminated"


@dataclass
class Instance(Lifetime):
    """One instance. Times are seconds since 1970 on the cloud's clock."""

    id: str
    body: Mapping[str, Any]
    """Of its launch."""
    machine: Machine
    mount_points: Mapping[str, str]
    """Where its file systems are, by their ids."""
    told_status: str = ""
    """What the status becomes whatever the machine does, and when."""
    told_at: float = math.inf
    hidden_until: dict[str, float] = field(default_factory=dict)
    """From `get` and from `list`."""
    billed_minutes: int = 0

    @property
    def name(self) -> str:
        return str(self.body.get("name", ""))

    @property
    def type_name(self) -> str:
        return str(self.body["instance_type_name"])

    @property
    def cents_per_hour(self) -> int:
        return TYPES[self.type_name].cents

    @property
    def billed_from(self) -> float:
        return min(self.machine.up_at, self.told_at if self.told_status == UNHEALTHY else math.inf)

    def status(self, now: float) -> str:
        if self.gone_at is not None:
            return TERMINATING if now < self.shown_until else TERMINATED
        if now >= self.told_at:
            return self.told_status
        return ACTIVE if self.machine.is_up else BOOTING

    def is_hidden(self, where: str, now: float) -> bool:
        return now < self.hidden_until.get(where, 0.0)


class Instances:
    """All instances of the account. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator") -> None:
        self._cloud = cloud
        self._instances: dict[str, Instance] = {}

    def __iter__(self) -> Iterator[Instance]:
        """Those that exist, the oldest first."""
        return (instance for instance in self._instances.values() if instance.gone_at is None)

    def get(self, id: str) -> Instance | None:  # noqa: A002
        """The instance as it is shown alone."""
        instance, now = self._instances.get(id), self._cloud.clock.now()
        if instance is None or instance.is_hidden("get", now):
            return None
        return instance if instance.is_shown(now) or self._cloud.shows_terminated else None

    def listed(self, lag_s: float = 0.0) -> list[Instance]:
        """As by a list that lags behind."""
        now = self._cloud.clock.now()
        return [one for one in self._instances.values() if one.is_listed(now, lag_s) and not one.is_hidden("list", now)]

    def named(self, name: str) -> Instance:
        """The newest that exists with that name or id. Raises LookupError."""
        found = [instance for instance in self if name in (instance.name, instance.id)]
        if not found:
            raise LookupError(f"there is no instance {name}")
        return found[-1]

    def machine_with(self, token: str) -> LinuxMachine | None:
        """The one whose commands call with that token."""
        machines = [one.machine for one in self if isinstance(one.machine, LinuxMachine)]
        return next((machine for machine in machines if machine.token == token), None)

    def launch(self, body: Mapping[str, Any], public_key: str, mount_points: Mapping[str, str]) -> Instance:
        """One more, of a body that has been checked."""
        image = next(iter(body.get("image", {"family": "lambda-stack-22-04"}).values()))
        address = free_address([instance.machine.address for instance in self], self._cloud.network)
        instance = Instance(
            created_at=self._cloud.clock.now(),
            id=secrets.token_hex(16),
            body=body,
            machine=self._cloud.machine(
                Order(
                    type_name=body["instance_type_name"],
                    region=body["region_name"],
                    image=image,
                    public_key=public_key,
                    hostname=body.get("hostname", address.replace(".", "-")),
                    user_data=body.get("user_data", ""),
                    mount_points=mount_points,
                    ruleset_ids=[entry["id"] for entry in body.get("firewall_rulesets", ())],
                ),
                address,
            ),
            mount_points=mount_points,
        )
        self._instances[instance.id] = instance
        self._cloud.billing.start(instance.id, instance.name, 0.0)
        instance.machine.tick()
        return instance

    def terminate(self, instance: Instance, shown_for_s: float = 0.0) -> None:
        now = self._cloud.clock.now()
        self._bill(instance, now)
        instance.machine.stop()
        instance.end(now, shown_for_s)
        self._cloud.billing.stop(instance.id)

    def close(self) -> None:
        """Their machines end with the cloud."""
        for instance in self:
            instance.machine.stop()

    def tick(self) -> None:
        """Bills what is up."""
        now = self._cloud.clock.now()
        for instance in self:
            instance.machine.tick()
            self._bill(instance, now)

    def _bill(self, instance: Instance, now: float) -> None:
        minutes = 0 if now < instance.billed_from else int((now - instance.billed_from) // 60) + 1
        usd = (minutes - instance.billed_minutes) * instance.cents_per_hour / 100 / 60
        self._cloud.billing.charge(instance.id, usd)
        instance.billed_minutes = minutes
