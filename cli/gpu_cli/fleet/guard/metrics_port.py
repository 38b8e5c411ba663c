"""At which port the guard is to serve its metrics, and whether it does. Both are kept: guards come and go."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import START_DEADLINE_S, ensure_guard, guard_lives, guard_log_path, recorded_guard
from gpu_cli.paths import Paths
from gpu_cli.state_files import read_object
from gpu_cli.write_file import write_text

HOST = "127.0.0.1"
PATH = "/metrics"
POLL_S = 0.1


@dataclass(frozen=True)
class Told:
    """By a guard, of itself."""

    pid: int
    port: int | None
    """Where it is to serve them, as far as it knows; None for nowhere."""
    problem: str = ""
    """Why it does not, the port among it; empty when it does."""


def metrics_url(port: int) -> str:
    """What Prometheus is to scrape."""
    return f"http://{HOST}:{port}{PATH}"


def wanted_port(paths: Paths) -> int | None:
    """Where the user wants them; None for nowhere."""
    port = read_object(_wanted(paths)).get("port")
    return port if isinstance(port, int) else None


def served_port(paths: Paths) -> int | None:
    """Where a guard serves them now; None for nowhere."""
    said = told(paths)
    return said.port if said and not said.problem else None


def serve_at(fleet: Fleet, port: int | None) -> bool:
    """Have the guard serve them there, or (None) nowhere, and all guards that follow. Whether that is so now: where
    nothing lives there may be no guard.

    Raises UserError when the port is not free, or the guard does not take it up.
    """
    if port is not None and port != served_port(fleet.paths):
        _check_free(port)
    write_text(_wanted(fleet.paths), json.dumps({"port": port}))
    if fleet.store.live():
        ensure_guard(fleet)
    give_up_at = fleet.clock.now() + START_DEADLINE_S
    while guard_lives(fleet.paths) and served_port(fleet.paths) != port:
        if fleet.clock.now() >= give_up_at:
            raise _not_served(f"the guard has not taken it up, see {guard_log_path(fleet.paths)}")
        fleet.clock.sleep(POLL_S)
    return served_port(fleet.paths) == port


def told(paths: Paths) -> Told | None:
    """By the guard that runs now; None while it has not said anything."""
    try:
        said = Told(**read_object(_told(paths)))
    except TypeError:
        return None
    return said if guard_lives(paths) and said.pid == recorded_guard(paths)[0] else None


def tell(paths: Paths, port: int | None, problem: str) -> None:
    """As the guard that runs. Raises UserError."""
    write_text(_told(paths), json.dumps(asdict(Told(os.getpid(), port, problem))))


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: only who listens has it
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _not_served(f"port {port}: {error.strerror}") from None


def _not_served(why: str) -> UserError:
    return UserError(Exit.BAD_INPUT, "no-metrics", f"metrics cannot be served: {why}", hint="choose another port")


def _wanted(paths: Paths) -> Path:
    return paths.state / "metrics.json"


def _told(paths: Paths) -> Path:
    return paths.state / "metrics-told.json"
