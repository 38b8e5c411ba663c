"""The emulated clouds without sockets, threads and processes of their own: as they are, in simulated time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import emulators.runpod.balancer
import emulators.runpod.endpoints
import emulators.runpod.logs
import emulators.runpod.proxy
import virtual_machines
import virtual_ssh
from emulators.cloud import Cloud
from emulators.forwarding import bad_gateway
from emulators.lambda_cloud import LambdaEmulator
from emulators.openapi import Conformance
from emulators.runpod import RunPodEmulator
from emulators.server import Request, Reset, Response, Router
from emulators.vast import VastEmulator
from rebinding import Patch
from scheduler import Machine, Scheduler
from virtual_containers import Containers, hosts
from virtual_network import Network

CLOUDS: Mapping[str, type[Cloud]] = {
    "lambda": LambdaEmulator,
    "runpod": RunPodEmulator,
    "vast": VastEmulator,
}
LOOPBACK = "127.0.0.1"
TICK_S = 4.0
"""How often what is due happens although nobody asks. What begins or ceases to run is noticed at once."""


class _Server:
    """What a cloud asks of its server: where it is, and whether it stops."""

    def __init__(self, cloud: Cloud, url: str) -> None:
        self.stopping = cloud._server.stopping
        self.url = url


class Forwards:
    """The ports of Vast's machines: whoever asks there talks to the engine behind."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._opened = 40_000

    def open(self, target: Any) -> int:
        self._opened += 1

        def serve(request: Request) -> Response:
            engine = self._containers.at(target())
            return engine.answer(request) if engine else _refuse()

        self._containers.network.hosts[f"{LOOPBACK}:{self._opened}"] = serve
        return self._opened

    def close(self, port: int) -> None:
        self._containers.network.hosts.pop(f"{LOOPBACK}:{port}", None)


def _refuse() -> NoReturn:
    raise Reset


def start(name: str, scheduler: Scheduler, network: Network, folder: Path, **options: Any) -> Cloud:
    """The cloud of this name, at `http://NAME`, for as long as the simulation lasts. To be called by an actor.

    The files of its machines are in `folder`.
    """
    cloud = CLOUDS[name](**options)
    cloud.clock.now = lambda: scheduler.now  # type: ignore[method-assign]  # whoever asks: its machine never sleeps
    cloud._server = _Server(cloud, f"http://{name}")  # type: ignore[assignment]
    cloud.conformance = Conformance()  # other tests look at that, and it takes its time
    containers = Containers(scheduler, Machine(name), network, folder / name)
    hosts.append(containers)
    cloud.containers = containers  # type: ignore[assignment]
    if isinstance(cloud, VastEmulator):
        cloud.forwards = Forwards(containers)  # type: ignore[assignment]
    if isinstance(cloud, LambdaEmulator):
        cloud.network = 0
        virtual_ssh.clouds[:] = [cloud]
    cloud._router = Router([*cloud._own_routes(), *cloud.routes()])
    containers.changed = cloud.bill
    scheduler.spawn(f"{name} ticks", containers.machine, lambda: _tick(scheduler, cloud))
    network.hosts[name] = cloud._answer
    return cloud


def _tick(scheduler: Scheduler, cloud: Cloud) -> None:
    while True:
        scheduler.sleep(TICK_S)
        cloud.bill()


def _forward(request: Request, port: int, path: str, **_: object) -> Response:
    """As `emulators.forwarding.forward`, to an engine that only pretends."""
    (host,) = (one for one in hosts if one.machine.name == "runpod")
    engine = host.at(port)
    if engine is None:
        return bad_gateway()
    return engine.answer(Request(request.method, path, request.query, request.headers, request.body))


PATCHES: tuple[Patch, ...] = (
    *virtual_machines.PATCHES,
    *virtual_ssh.PATCHES,
    (emulators.runpod.proxy, "forward", _forward),
    (emulators.runpod.balancer, "forward", _forward),
    (emulators.runpod.endpoints, "_is_healthy", lambda _endpoint, container: container.port is not None),
    (emulators.runpod.logs, "KEEPALIVE_S", 0.1),  # so that logs say at once that there is no more for now
)
