"""The guard's figures at the port of loopback where the user wants them (`gpu guard --metrics PORT`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.metrics_port import tell, wanted_port
from gpu_cli.ui.output import print_message

if TYPE_CHECKING:  # prometheus_client is slow to import, and most guards have no use for it
    from gpu_cli.fleet.guard.metrics import FleetCollector
    from gpu_cli.fleet.guard.metrics_server import MetricsServer


@dataclass(frozen=True)
class _Serving:
    server: "MetricsServer"
    collector: "FleetCollector"

    def close(self) -> None:
        self.server.close()
        self.collector.close()


class Exposed:
    """Keeps what is served in line with what the user wants."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._serving: _Serving | None = None
        self._port: int | None = None
        """Where it is to serve, as far as it knows."""
        self._problem = ""
        """Why it does not."""
        self._turned_at = 0.0

    def attend(self) -> None:
        """With each turn. A port that is taken is tried again with the next one. Raises UserError."""
        self._turned_at, wanted = self._fleet.clock.now(), wanted_port(self._fleet.paths)
        if wanted == self._port and not self._problem:
            return
        self.close()
        problem = self._try_to_serve(wanted) if wanted else ""
        if (wanted, problem) == (self._port, self._problem):
            return
        self._port, self._problem = wanted, problem
        if problem:
            print_message(f"metrics: {problem}")
        tell(self._fleet.paths, wanted, problem)

    def close(self) -> None:
        """Serve nothing."""
        if self._serving:
            self._serving.close()
        self._serving = None

    def _try_to_serve(self, port: int) -> str:
        """Why it cannot; empty when it does."""
        try:
            self._serving = self._serve(port)
        except OSError as error:
            return f"port {port}: {error.strerror}"
        return ""

    def _serve(self, port: int) -> _Serving:
        from prometheus_client import CollectorRegistry, ProcessCollector

        from gpu_cli.fleet.guard.metrics import FleetCollector
        from gpu_cli.fleet.guard.metrics_server import MetricsServer

        registry, collector = CollectorRegistry(), FleetCollector(self._fleet, lambda: self._turned_at)
        registry.register(collector)
        ProcessCollector(registry=registry)
        server = MetricsServer(port, registry)
        server.start()
        return _Serving(server, collector)
