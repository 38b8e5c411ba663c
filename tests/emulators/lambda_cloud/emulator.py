"""Lambda's API on loopback, and machines with a real SSH server each.

/api/v1/...             the API: keys are checked, bodies too, what is answered is checked against the cloud's OpenAPI
                        file
/_emulator/machines/... commands that are called on machines
/_emulator/...          bill, state and misbehave
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..cloud import Cloud
from ..containers import Container
from ..images import free_port
from ..misbehaviour import INSTEAD, SPOILED
from ..openapi import Conformance
from ..server import Request, Response, Route
from ..tcp_forward import TcpForwards
from . import bodies, host_keys
from .account import Account
from .answers import refused_by_status
from .calls import as_parts, called
from .catalogue import Catalogue
from .faults import faults
from .file_systems import FileSystems
from .firewall import Firewall
from .instance_json import as_json
from .instance_routes import InstanceRoutes
from .instances import Instances
from .launching import Launching
from .linux_machine import LinuxMachine
from .machine import Machine, Order
from .specification import LAMBDA
from .ssh_keys import SshKeys
from .ssh_server import USER


class LambdaEmulator(Cloud):
    """An account at Lambda with one key.

    `stock` is where there is capacity of a type, by its name (of others: where there usually is); `limits` whether too
    many requests are refused, by the cloud's clock; `shows_terminated` whether what is gone is still shown by its id,
    as `terminated`; the rest is as for every Cloud. The `gpu` of a rule is a part of `type@region`. A boot takes
    `boot_s`, `auth_late_s` later SSH lets somebody in, and an image is pulled in `pull_s`.
    """

    ENUM_FIELDS = ("status", "architecture", "reason_code")
    OPTIONAL_FIELDS = (
        *("ip", "private_ip", "hostname", "jupyter_token", "jupyter_url", "tags", "file_system_mounts"),
        *("reason_code", "reason_description", "bytes_used", "suggestion"),
    )
    WORDS = (
        *(*INSTEAD, *SPOILED, "no-capacity", "no-funds", "spend-limit", "unseen", "list-lag"),
        *("delete-204-stays", "delete-lag", "delete-locked", "never-boots", "host-state"),
        *("auth-late", "plants-no-host-key", "broken-gpu", "old-driver", "docker-broken", "no-image", "crash-loop"),
    )

    def __init__(
        self,
        *,
        stock: Mapping[str, Sequence[str]] = {},
        limits: bool = False,
        shows_terminated: bool = False,
        auth_late_s: float = 0.0,
        pull_s: float = 0.0,
        **of_every_cloud: Any,
    ) -> None:
        super().__init__(**of_every_cloud)
        self.key = "secret_emulated_5eed5eed5eed"
        self.limits = limits
        self.shows_terminated = shows_terminated
        self.pull_s = pull_s
        self.ssh_port = free_port()
        """Of all machines: each has its own address."""
        self.network = random.randrange(256)
        """Of those addresses: emulators beside each other have different ones, mostly."""
        self.forwards = TcpForwards()
        self.conformance = Conformance(LAMBDA)
        self.account = Account(self)
        self.catalogue = Catalogue(stock)
        self.ssh_keys = SshKeys()
        self.file_systems = FileSystems(self)
        self.firewall = Firewall(self)
        self.instances = Instances(self)
        self._auth_late_s = auth_late_s

    def routes(self) -> list[Route]:
        return [
            *self.catalogue.routes(),
            *Launching(self).routes(),
            *InstanceRoutes(self).routes(),
            *self.ssh_keys.routes(),
            *self.file_systems.routes(),
            *self.firewall.routes(),
            Route("POST", "/_emulator/machines/{token}", self._run_command, locked=False),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {
            "GPU_LAMBDA_API_URL": f"{self.url}/api/v1",
            "LAMBDA_API_KEY": self.key,
            "GPU_LAMBDA_SSH_PORT": str(self.ssh_port),
            "GPU_LAMBDA_SSH_USER": USER,
        }

    def start(self) -> None:
        with self.lock:
            super().start()
            self.forwards.start()

    def stop(self) -> None:
        with self.lock:
            self.stopping.set()
            self.instances.close()
        super().stop()
        self.forwards.stop()

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
        place = f"{order.type_name}@{order.region}"
        take = partial(self.misbehaviour.take, call="create", gpu=place)
        boot = self.boot_of(place)
        return LinuxMachine(self, order, address, boot, faults(take, self._auth_late_s, boot.crash_after_s))

    def _run_command(self, request: Request) -> Response:
        """What a command on a machine does. Not called under the lock."""
        with self.lock:
            machine = self.instances.machine_with(request.params["token"])
        if machine is None:
            return self.refusal(404, "resource not found")
        return Response(200, as_parts(machine.run(*called(request))), {"Content-Type": "application/octet-stream"})

    # For tests.

    def order(self, name: str) -> Order:
        """What the machine of that instance (its name or its id) was made from: its user data, for one."""
        with self.lock:
            return self.instances.named(name).machine.order

    def fill(self, name: str, gib: float) -> None:
        """So much is on that file system from now on."""
        with self.lock:
            self.file_systems.fill(name, gib)

    def container(self, name: str) -> Container:
        """The one that was started last on the machine of that instance. Raises LookupError."""
        return self._linux(name).container

    def drop_ssh(self, name: str) -> None:
        """Every connection with its SSH server ends; new ones are welcome."""
        self._linux(name).ssh.drop()

    def change_host_key(self, name: str) -> None:
        """Its SSH server is somebody else from now on."""
        self._linux(name).ssh.change_host_key(host_keys.new())

    def home(self, name: str) -> Path:
        """The folder in which sessions on that machine begin."""
        return self._linux(name).folder.home

    def _linux(self, name: str) -> LinuxMachine:
        with self.lock:
            machine = self.instances.named(name).machine
        assert isinstance(machine, LinuxMachine)
        return machine
