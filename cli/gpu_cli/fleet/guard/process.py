"""Starting the guard, and knowing that it lives. The process itself is `run.py`."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gpu_cli import __version__
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import KeptEnvironment, reach_of
from gpu_cli.locks import is_held
from gpu_cli.paths import Paths
from gpu_cli.state_files import kept_in

START_DEADLINE_S = 20.0
GUARD_MODULE = "gpu_cli.fleet.guard"


def lock_path(paths: Paths) -> Path:
    """Held by the guard as long as it lives; one guard for all deployments of a user."""
    return paths.state / "locks" / "guard.lock"


def version_path(paths: Paths) -> Path:
    """Where the guard writes its pid and the version of the program that it runs."""
    return paths.state / "guard.txt"


def guard_log_path(paths: Paths) -> Path:
    """What the guard did and why."""
    return paths.state / "logs" / "guard.log"


def guard_lives(paths: Paths) -> bool:
    """Whether a guard is at work now."""
    return is_held(lock_path(paths))


def ensure_guard(fleet: Fleet) -> None:
    """Come back with a guard of this version at work. Raises UserError when none can be started."""
    await_guard(fleet, call_guard(fleet))


def call_guard(fleet: Fleet) -> "subprocess.Popen[bytes] | None":
    """Start a guard unless one is at work that will do; `await_guard` must follow.

    It has to be of this version, and to reach every cloud that this command reaches: a guard has the environment of the
    command that started it. The next one also keeps what the one before could reach, or what the service can (`gpu
    guard install`). A service that has to go is started again by its manager, and waits until the new one has left.
    """
    if not guard_lives(fleet.paths):
        return _start(fleet, reach_of(KeptEnvironment(fleet.paths).read()))
    pid, version = _introduced(fleet)
    reach = reach_of(_environ_of(pid))
    if version == __version__ and reach_of(fleet.environ).items() <= reach.items():
        return None
    _stop_old(fleet)
    return _start(fleet, reach)


def await_guard(fleet: Fleet, called: "subprocess.Popen[bytes] | None") -> None:
    """Come back when the guard that was called is at work. Raises UserError when it does not get there."""
    give_up_at = fleet.clock.now() + START_DEADLINE_S
    while called and not (guard_lives(fleet.paths) and recorded_guard(fleet.paths)[1] == __version__):
        # Status 0: another process's guard has won the lock, and is on its way.
        if fleet.clock.now() > give_up_at or called.poll() not in (None, 0):
            raise UserError(
                Exit.LAUNCH_FAILED,
                "no-guard",
                "the guard, which ends what would otherwise be forgotten, does not start",
                hint=f"see {guard_log_path(fleet.paths)}",
            )
        fleet.clock.sleep(0.05)


def _environ_of(pid: int) -> Mapping[str, str]:
    """Of a process; empty when it cannot be read."""
    import psutil

    try:
        return psutil.Process(pid).environ()
    except psutil.Error:
        return {}


def _start(fleet: Fleet, reach: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    log = guard_log_path(fleet.paths)
    with kept_in(log):
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = log.open("ab")
    with output:
        return subprocess.Popen(
            [sys.executable, "-m", GUARD_MODULE],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**fleet.environ, **reach, **reach_of(fleet.environ)},
            start_new_session=True,
        )


def recorded_guard(paths: Paths) -> tuple[int, str]:
    """The pid and version of the guard; (0, "") when it has not written them yet, also over those of a dead one."""
    import psutil

    try:
        pid, version = version_path(paths).read_text().split()
        return (int(pid), version) if psutil.pid_exists(int(pid)) else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _introduced(fleet: Fleet) -> tuple[int, str]:
    """The pid and version of the guard at work. One that has only just begun is waited for, rather than doubled."""
    give_up_at = fleet.clock.now() + START_DEADLINE_S
    while not (recorded := recorded_guard(fleet.paths))[0]:
        if fleet.clock.now() > give_up_at or not guard_lives(fleet.paths):
            break
        fleet.clock.sleep(0.05)
    return recorded


def _stop_old(fleet: Fleet) -> None:
    """A guard that will not do hands over. The pid on record may be older than it, so it has to be proven."""
    import psutil

    pid, _ = recorded_guard(fleet.paths)
    try:
        process = psutil.Process(pid)
        if GUARD_MODULE in process.cmdline():
            process.terminate()
    except psutil.Error:
        return
    give_up_at = fleet.clock.now() + START_DEADLINE_S
    while guard_lives(fleet.paths) and fleet.clock.now() < give_up_at:
        fleet.clock.sleep(0.05)
