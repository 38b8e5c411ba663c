"""The guard's forwarders without sockets: ports of loopback that answer as long as their guard lives."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import virtual_ssh
from emulators.forwarding import bad_gateway
from emulators.server import Request, Response
from rebinding import Patch
from virtual_threads import current

from gpu_cli.fleet.reach import forwarding, link
from gpu_cli.fleet.reach.tunnel import Tunnel

if TYPE_CHECKING:
    from world import World

LOOPBACK = "127.0.0.1"


class Forwarders:
    """Of one guard."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._ports: dict[str, int] = {}
        self._endpoints: dict[str, str] = {}
        self.carry = False

    def stand(self, name: str, endpoint: str, way: Callable[[], object], port: int | None) -> int:
        if name not in self._ports:
            there = way()
            free = port if port and port not in self._world.listening else next(self._world.free_ports)
            self._ports[name] = free
            self._world.listening.add(free)
            if isinstance(there, Tunnel):
                self._world.network.hosts[_host(free)] = lambda request: self._through(name, there, request)
        self._endpoints[name] = endpoint
        return self._ports[name]

    def close_all_but(self, names: Collection[str]) -> None:
        for name in set(self._ports) - set(names):
            self._close(self._ports.pop(name))

    def stop_listening(self) -> None:
        for port in self._ports.values():
            self._close(port)

    def close(self) -> None:
        self.close_all_but(())

    def _close(self, port: int) -> None:
        self._world.listening.discard(port)
        self._world.network.hosts.pop(_host(port), None)

    def _through(self, name: str, tunnel: Tunnel, request: Request) -> Response:
        """To whatever listens behind a machine's SSH server. Others are reached without the guard here."""
        login = tunnel._login()
        machine = virtual_ssh.machine_at(login.host) if login else None
        engine = machine.engine_at(self._endpoints[name]) if machine else None
        return engine.answer(request) if engine else bad_gateway()


def _host(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def patches(world: "World") -> list[Patch]:
    """At the one place where the fleet opens them."""
    return [
        (forwarding.Forwarding, "_started", lambda self: _forwarders(self, world)),
        (link, "_answers", lambda port: port in world.listening),
    ]


def _forwarders(of_guard: Any, world: "World") -> Forwarders:
    if of_guard._forwarders is None:
        of_guard._forwarders = made = Forwarders(world)
        actor = current()
        assert actor
        actor.process.on_death.append(made.stop_listening)
    return of_guard._forwarders  # type: ignore[no-any-return]
