"""What the guard forwards to: each deployment that is not reached directly, at the port of loopback on record."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.reach.link import login_of
from gpu_cli.ui.output import print_message
from gpu_providers.base import Link

if TYPE_CHECKING:
    from gpu_cli.fleet.reach.forwarder import Way
    from gpu_cli.fleet.reach.forwarders import Forwarders

# What forwards is slow to import, and `gpu up` waits for the guard's start: it is imported where it is used.


class Forwarding:
    """Keeps forwarders and record in line. Where everything is reached directly it costs nothing."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._forwarders: Forwarders | None = None

    @property
    def carries(self) -> bool:
        """Whether it has connections."""
        return self._forwarders is not None and self._forwarders.carry

    def stand(self, deployment: Deployment) -> None:
        """Forward to it if that is how it is reached; the port goes on record.

        If possible it is the one of before, or that of the last of its name: that one's base_url then works again.
        """
        if deployment.link is Link.DIRECT or not deployment.endpoint:
            return
        name, known = deployment.resource_name, deployment.local_port
        wanted = known or self._last_port(deployment.name)
        try:
            port = self._started().stand(name, deployment.endpoint, partial(self._way, deployment), wanted)
        except FileNotFoundError:  # it was launched from another machine, or has just ended
            return
        if port == known:
            return
        self._fleet.store.update(name, local_port=port)
        if known is not None:
            print_message(f"{name}: its port {known} is taken by another program: its base_url has port {port} now")

    def _way(self, deployment: Deployment) -> "Way":
        """Raises FileNotFoundError without its certificate, or without a login to its machine."""
        name = deployment.resource_name
        if deployment.link is Link.TLS:
            from gpu_cli.fleet.certificates import pinned_context
            from gpu_cli.fleet.reach.pinned_tls import PinnedTls

            return PinnedTls(name, pinned_context(self._fleet.certificates.path(name)))
        from gpu_cli.fleet.reach.tunnel import Tunnel

        login = partial(login_of, self._fleet, deployment)
        if login() is None:
            raise FileNotFoundError(name)
        return Tunnel(name, login)

    def _last_port(self, name: str) -> int | None:
        return next((one.local_port for one in self._fleet.store.ended() if one.name == name and one.local_port), None)

    def _started(self) -> "Forwarders":
        if self._forwarders is None:
            from gpu_cli.fleet.reach.forwarders import Forwarders

            self._forwarders = Forwarders().start()
        return self._forwarders

    def close_all_but(self, live: Iterable[Deployment]) -> None:
        """Those that ended are not forwarded to any more."""
        if self._forwarders is not None:
            self._forwarders.close_all_but({deployment.resource_name for deployment in live})

    def stop_listening(self) -> None:
        """Make room for the next guard; connections go on."""
        if self._forwarders is not None:
            self._forwarders.stop_listening()

    def close(self) -> None:
        """End everything."""
        if self._forwarders is not None:
            self._forwarders.close()
