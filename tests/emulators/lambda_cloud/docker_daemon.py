"""Docker's daemon on an emulated machine: images, containers, its settings.

A container that is started is one of `containers`: a real process of this machine, with one port. Nothing is started
again by itself: restart policies are not emulated.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..container_spec import AT_ONCE, Boot, ContainerSpec, State
from ..containers import Container
from .docker_options import RunOptions
from .faults import Faults

Run = Callable[[ContainerSpec, Boot], Container]
STATUSES = {State.CREATING: "created", State.RUNNING: "running"}
NO_GPUS = 'could not select device driver "" with capabilities: [[gpu]]'


class DaemonError(Exception):
    """What the daemon answers, after `Error response from daemon: `."""


class NoProgram(DaemonError):
    """The image does not have what is to run."""

    def __init__(self, program: str) -> None:
        super().__init__(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
            "failed: unable to start container process: error during container init: "
            f'exec: "{program}": executable file not found in $PATH: unknown'
        )


@dataclass
class DockerContainer:
    """One container, whether or not it was ever started."""

    id: str
    name: str
    options: RunOptions
    container: Container | None = None

    @property
    def status(self) -> str:
        """As `docker inspect` tells it."""
        if self.container is None or self.container.start_error:
            return "created"
        return STATUSES.get(self.container.state(), "exited")

    @property
    def exit_code(self) -> int:
        return (self.container.exit_code if self.container and self.status == "exited" else None) or 0

    @property
    def ports(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """As `docker inspect` tells them; empty when it does not run. What is published on the machine's loopback has
        a port that was free: all emulated machines share it.
        """
        if not self.container or self.status != "running":
            return {}
        return {
            f"{one.declared}/tcp": [
                {"HostIp": one.address, "HostPort": str(one.port if one.is_public else self.container.host_port)}
            ]
            for one in self.options.published
        }

    def as_json(self) -> dict[str, Any]:
        """What `docker inspect` prints of it, as far as it is used."""
        status = self.status
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "State": {
                "Status": status,
                "Running": status == "running",
                "Restarting": False,
                "OOMKilled": False,
                "Dead": False,
                "ExitCode": self.exit_code,
                "Error": "",
            },
            "RestartCount": 0,
            "Config": {"Image": self.options.image, "Labels": dict(self.options.labels)},
            "NetworkSettings": {"Ports": dict(self.ports)},
        }


class DockerDaemon:
    """The daemon of one machine. Its methods are called under the cloud's lock, unless they say otherwise."""

    def __init__(self, root: Path, faults: Faults, run: Run) -> None:
        """`root` holds the machine's files."""
        self.images: set[str] = set()
        self.containers: list[DockerContainer] = []
        self.is_up = True
        self._settings_file = root / "etc/docker/daemon.json"
        self._faults = faults
        self._run = run
        self._settings: Mapping[str, Any] = {}

    def restart(self) -> bool:
        """With the settings of now; what runs ends. Whether it has come up."""
        self.stop()
        try:
            self._settings = json.loads(self._settings_file.read_text()) if self._settings_file.exists() else {}
        except ValueError:
            self.is_up = False
            return False
        self.is_up = True
        return True

    def stop(self) -> None:
        for one in self.containers:
            if one.container:
                one.container.stop()

    @property
    def cgroup_driver(self) -> str:
        options = dict(option.split("=", 1) for option in self._settings.get("exec-opts", []))
        return str(options.get("native.cgroupdriver", "systemd"))

    @property
    def runtimes(self) -> Sequence[str]:
        return sorted({*self._settings.get("runtimes", {}), "io.containerd.runc.v2", "runc"})

    def check_image(self, image: str) -> None:
        """Raises DaemonError when it cannot be pulled."""
        name, _, tag = image.partition(":")
        if self._faults.missing_image is not None and self._faults.missing_image in image:
            raise DaemonError(f"manifest for {name}:{tag or 'latest'} not found: manifest unknown: manifest unknown")

    def known(self, name: str) -> DockerContainer | None:
        """By its name, its id or the beginning of it."""
        return next((one for one in self.containers if one.name == name or one.id.startswith(name)), None)

    def found(self, name: str) -> DockerContainer:
        """The same. Raises DaemonError."""
        one = self.known(name)
        if one is None:
            raise DaemonError(f"No such container: {name}")
        return one

    def create(self, options: RunOptions) -> DockerContainer:
        """Not started. Raises DaemonError."""
        taken = next((one for one in self.containers if one.name == options.name), None)
        if taken:
            raise DaemonError(
                f'Conflict. The container name "/{options.name}" is already in use by container "{taken.id}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        id_ = secrets.token_hex(32)
        made = DockerContainer(id_, options.name or f"nameless_{id_[:6]}", options)
        self.containers.append(made)
        return made

    def check_start(self, options: RunOptions) -> None:
        """Raises DaemonError when it is to have GPUs and Docker knows none."""
        if options.gpus and self._faults.without_gpus_in_docker and "nvidia" not in self.runtimes:
            raise DaemonError(NO_GPUS)

    def start(self, spec: ContainerSpec) -> Container:
        crash_after_s = self._faults.crash_after_s
        return self._run(spec, AT_ONCE if crash_after_s is None else Boot(crash_after_s=crash_after_s))

    def remove(self, made: DockerContainer) -> None:
        """Without waiting for its end."""
        if made.container:
            made.container.stop()
        self.containers.remove(made)
