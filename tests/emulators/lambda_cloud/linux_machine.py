"""A machine that can be logged in to: an SSH server, and commands that answer as those of a machine with GPUs do.

What the sources say, and this does: Docker and NVIDIA's toolkit are there, and `ubuntu` is root by `sudo` alone (docs.
lambda.ai; skypilot#2525). The host key is the one that the user data plant, as cloud-init's documentation has it for
`ssh_keys`; that Lambda lets it is not documented, and can be forbidden here.
"""

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .. import engines, process_tree
from ..container_spec import Boot
from ..containers import Container
from . import host_keys, probing
from .calls import Call, Command, Output, failed
from .catalogue import architecture
from .docker import docker
from .docker_daemon import DaemonError, DockerContainer, DockerDaemon
from .faults import Faults
from .host_folder import HostFolder
from .machine import Machine, Order
from .nvidia import RUNTIMES, Gpus, configure_docker
from .ssh_server import SshServer
from .system import cloud_init, systemctl

if TYPE_CHECKING:
    from .emulator import LambdaEmulator

SSH = 22
"""What rules of firewalls call it; the server of an emulated machine is at another."""
TICK_S = 0.05
NO_ENDPOINT = "failed to set up container networking: driver failed programming external connectivity on endpoint"
TAKEN = "Bind for %s:%d failed: port is already allocated"


class LinuxMachine(Machine):
    """One machine with its system. What its commands do is not done under the cloud's lock."""

    def __init__(self, cloud: "LambdaEmulator", order: Order, address: str, boot: Boot, faults: Faults) -> None:
        super().__init__(order, address, boot, cloud.clock)
        self.lock = cloud.lock
        self.pull_s = cloud.pull_s
        self.architecture = architecture(order.type_name)
        self.token = secrets.token_hex(16)
        """By which its commands are known to come from it."""
        self.stopping = threading.Event()
        self._cloud = cloud
        self._faults = faults
        self._let_in = False
        self._ssh: SshServer | None = None
        self._published: dict[int, str] = {}
        """The ids of containers by the ports of its own address."""

    # Its life. Called under the cloud's lock.

    def tick(self) -> None:
        """Its SSH server is there once it is up, and lets in whoever may log in some time later."""
        if self.is_up and self._ssh is None:
            self._ssh = self._system_started()
        if self._ssh and not self._let_in and self._clock.now() >= self.up_at + self._faults.auth_late_s:
            self._ssh.let_in(self.order.public_key)
            self._let_in = True

    def stop(self) -> None:
        self.stopping.set()
        self._unpublish([*self._published])
        if self._ssh:
            self._ssh.close()
            self.docker.stop()
            if self._ssh.was_used:
                process_tree.kill(self.folder.path)

    def _system_started(self) -> SshServer:
        route = f"/_emulator/machines/{self.token}"
        self.folder.make(self.architecture, self._commands, urlsplit(self._cloud.url).port or 0, route)
        for id_, mount_point in self.order.mount_points.items():
            self.folder.mount(mount_point, self._cloud.file_systems.folder(id_))
        if not self._faults.without_gpus_in_docker:
            self.folder.settings_file.write_text(json.dumps({"runtimes": RUNTIMES}))
        self.docker.restart()
        address = (self.address, self._cloud.ssh_port)
        server = SshServer(self.folder.path, address, self.folder.environ, self._is_let_through)
        server.open(self._host_key())
        return server

    def _is_let_through(self, host: str) -> bool:
        """Somebody wants to log in, and what they start is to end with this process."""
        self._cloud.containers.watch()
        return self._cloud.firewall.admits(self.order.ruleset_ids, SSH, host)

    def _host_key(self) -> str:
        planted = "" if self._faults.plants_no_host_key else host_keys.planted(self.order.user_data)
        return planted or host_keys.new()

    # Its parts.

    @cached_property
    def folder(self) -> HostFolder:
        return HostFolder(self._cloud.containers.new_folder("machine"))

    @cached_property
    def docker(self) -> DockerDaemon:
        return DockerDaemon(self.folder.root, self._faults, self._cloud.run)

    @cached_property
    def probing_python(self) -> Path:
        """The one of containers, for which CUDA is as it is here."""
        probing.make(self.folder.path / "cuda", self._faults.cu_init, self._gpus.count)
        return engines.python_with(self.folder.path / "cuda", self.folder.path / "probing")

    @cached_property
    def _gpus(self) -> Gpus:
        return Gpus(self.order.type_name, self._faults.driver)

    @cached_property
    def _commands(self) -> dict[str, Command]:
        """By the names that they have on its PATH."""
        of_gpus: dict[str, Command] = {
            "nvidia-smi": self._gpus.smi,
            "nvidia-ctk": partial(configure_docker, self.folder.settings_file),
        }
        return {
            "docker": partial(docker, self),
            "systemctl": partial(systemctl, self),
            "cloud-init": cloud_init,
            **(of_gpus if self._gpus.count else {}),
        }

    # What happens on it.

    def host_path(self, path: str) -> str:
        """Where a folder of the machine is, which is made when it is not there, as Docker does it."""
        found = self.folder.host_path(path)
        found.mkdir(parents=True, exist_ok=True)
        return str(found)

    def run(self, name: str, call: Call) -> Output:
        """A command that somebody on it has called."""
        command = self._commands.get(name)
        return command(call) if command else failed(f"{name}: command not found", 127)

    def wait(self, seconds: float) -> None:
        """By the cloud's clock, which may be moved meanwhile; its end ends it."""
        until = self._clock.now() + seconds
        while self._clock.now() < until and not self.stopping.wait(min(TICK_S, seconds / self._clock.speed)):
            pass

    def publish(self, made: DockerContainer) -> None:
        """Opens, at its own address, what is not for its loopback alone. Raises DaemonError."""
        for one in made.options.published:
            if not one.is_public:
                continue
            admits = partial(self._cloud.firewall.admits, self.order.ruleset_ids, one.port)
            try:
                self._cloud.forwards.open(partial(_behind, made, admits), (self.address, one.port))
            except OSError:
                raise DaemonError(f"{NO_ENDPOINT} {made.name}: {TAKEN % (one.address, one.port)}") from None
            self._published[one.port] = made.id

    def remove(self, made: DockerContainer) -> None:
        """A container, with what it has published."""
        self.docker.remove(made)
        self._unpublish([port for port, id_ in self._published.items() if id_ == made.id])

    def _unpublish(self, ports: Sequence[int]) -> None:
        for port in ports:
            self._cloud.forwards.close(port, self.address)
            del self._published[port]

    # For tests.

    @property
    def ssh(self) -> SshServer:
        """Raises LookupError before it is up."""
        if self._ssh is None:
            raise LookupError("the machine is not up")
        return self._ssh

    @property
    def container(self) -> Container:
        """The one that was started last. Raises LookupError."""
        for made in reversed(self.docker.containers):
            if made.container:
                return made.container
        raise LookupError("no container was started there")


def _behind(made: DockerContainer, admits: Callable[[str], bool]) -> int | None:
    """The port behind a published one, for whoever gets through: everybody here is on loopback."""
    return made.container.local_port if made.container and admits("127.0.0.1") else None
