"""Lambda's API on loopback. Machines are stand-ins: they boot, have an address, and nothing listens there.

/api/v1/...             the API: keys are checked, bodies too, what is answered is checked against the cloud's OpenAPI
                        file
/_emulator/...          bill, state and misbehave
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..cloud import Cloud
from ..misbehaviour import INSTEAD, SPOILED
from ..openapi import Conformance
from ..server import Request, Response, Route
from . import bodies
from .account import Account
from .answers import refused_by_status
from .catalogue import Catalogue
from .file_systems import FileSystems
from .instance_json import as_json
from .instance_routes import InstanceRoutes
from .instances import Instances
from .launching import Launching
from .machine import Machine, Order
from .specification import LAMBDA
from .ssh_keys import SshKeys


class LambdaEmulator(Cloud):
    """An account at Lambda with one key.

    `stock` is where there is capacity of a type, by its name (of others: where there usually is); `limits` whether too
    many requests are refused, by the cloud's clock; `shows_terminated` whether what is gone is still shown by its id,
    as `terminated`; the rest is as for every Cloud. The `gpu` of a rule is a part of `type@region`. A boot takes
    `boot_s`.
    """

    ENUM_FIELDS = ("status", "architecture", "reason_code")
    OPTIONAL_FIELDS = (
        *("ip", "private_ip", "hostname", "jupyter_token", "jupyter_url", "tags", "file_system_mounts"),
        *("reason_code", "reason_description", "bytes_used", "suggestion"),
    )
    WORDS = (
        *(*INSTEAD, *SPOILED, "no-capacity", "no-funds", "spend-limit", "unseen", "list-lag"),
        *("delete-204-stays", "delete-lag", "delete-locked", "never-boots", "host-state"),
    )

    def __init__(
        self,
        *,
        stock: Mapping[str, Sequence[str]] = {},
        limits: bool = False,
        shows_terminated: bool = False,
        **of_every_cloud: Any,
    ) -> None:
        super().__init__(**of_every_cloud)
        self.key = "secret_emulated_5eed5eed5eed"
        self.limits = limits
        self.shows_terminated = shows_terminated
        self.conformance = Conformance(LAMBDA)
        self.account = Account(self)
        self.catalogue = Catalogue(stock)
        self.ssh_keys = SshKeys()
        self.file_systems = FileSystems(self)
        self.instances = Instances(self)

    def routes(self) -> list[Route]:
        return [
            *self.catalogue.routes(),
            *Launching(self).routes(),
            *InstanceRoutes(self).routes(),
            *self.ssh_keys.routes(),
            *self.file_systems.routes(),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {"GPU_LAMBDA_API_URL": f"{self.url}/api/v1", "LAMBDA_API_KEY": self.key}

    def stop(self) -> None:
        super().stop()
        self.instances.close()

    def admit(self, request: Request) -> Response | None:
        return self.account.admit(request) if request.path.startswith("/api/") else None

    def refusal(self, status: int, detail: str) -> Response:
        return refused_by_status(status, detail)

    def gpu_of(self, request: Request) -> str:
        return bodies.place(request.json())

    def tick(self) -> None:
        self.instances.tick()

    def state(self) -> Any:
        now = self.clock.now()
        return {"instances": [as_json(instance, now) for instance in self.instances]}

    def machine(self, order: Order, address: str) -> Machine:
        """The machine of a new instance. Called under the lock."""
        return Machine(order, address, self.boot_of(f"{order.type_name}@{order.region}"), self.clock)

    # For tests.

    def order(self, name: str) -> Order:
        """What the machine of that instance (its name or its id) was made from: its user data, for one."""
        with self.lock:
            return self.instances.named(name).machine.order

    def fill(self, name: str, gib: float) -> None:
        """So much is on that file system from now on."""
        with self.lock:
            self.file_systems.fill(name, gib)
