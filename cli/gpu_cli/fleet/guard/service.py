"""The process that the user's service manager runs: it becomes the guard, with the environment that was kept for it.

A service has next to none of the user's environment, and its definition is no place for keys: those are in a file of
the state folder that only the user reads.
"""

import os
import sys
from pathlib import Path

from gpu_cli.fleet.guard.environment import read_environment
from gpu_cli.fleet.guard.process import GUARD_MODULE, guard_log_path
from gpu_cli.paths import Paths
from gpu_cli.state_files import kept_in

SERVICE_MODULE = "gpu_cli.fleet.guard.service"
STAY = "--stay"
"""Makes the guard wait for its turn, and stay when nothing lives."""

_STREAMS = (1, 2)
"""What the guard prints is its log."""


def service_lock_path(paths: Paths) -> Path:
    """Held as long as the service can be counted on: it guards, or takes over from the guard that does."""
    return paths.state / "locks" / "guard-service.lock"


def main() -> None:
    """Become the guard, in the environment that the file on the command line holds.

    As a new program in the same process: what reads a process's environment from outside sees what it can reach.
    """
    file = Path(sys.argv[1])
    if not (kept := read_environment(file)):
        sys.exit(f"{file} cannot be read: run gpu guard install again")
    environ = {**os.environ, **kept}
    log = guard_log_path(Paths.from_environ(environ))
    with kept_in(log):
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for stream in _STREAMS:
        os.dup2(output, stream)
    os.execve(sys.executable, [sys.executable, "-m", GUARD_MODULE, STAY], environ)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
