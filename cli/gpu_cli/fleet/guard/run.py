"""The guard: one background process per user that ends what has to end, should all else fail.

Started by `gpu up`; it leaves when nothing is left to guard. As the service that `gpu guard install` makes, it stays,
and waits for its turn while a guard that a command has started is at work. What it does is in `turn.py`.
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from threading import Event

from gpu_cli import __version__
from gpu_cli.errors import UserError
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.lane import logged
from gpu_cli.fleet.guard.process import lock_path, version_path
from gpu_cli.fleet.guard.service import STAY, service_lock_path
from gpu_cli.fleet.guard.turn import TURN_S, Guard
from gpu_cli.fleet.recover import open_fleet
from gpu_cli.fleet.store import StoreCorrupt
from gpu_cli.locks import Lock, is_held, released
from gpu_cli.paths import Paths
from gpu_cli.ui.output import print_message

LINGER_S = 10.0
"""How long it stays when there is nothing to guard: pipelines go down and up again."""
LOCK_DEADLINE_S = 2.0
"""Others look at the lock by taking it for a moment."""
SETTLE_S = 5.0
"""For how long nobody must have had the lock before the service takes it: a guard that a command is starting, since it
reaches more clouds, goes first.
"""


def run(fleet: Fleet, stop: Event, *, service: Lock | None = None) -> None:
    """Guard until nothing has lived for `LINGER_S`, or `stop` is set (another guard takes over).

    As the service, of which `service` is held as long as it can be counted on: once it is its turn, until `stop` is set
    or the record is another one.
    """
    lock, record = Lock(lock_path(fleet.paths)), _identity(fleet.store.path)
    if not (_await_turn(lock, fleet.clock, stop) if service else _acquire(lock, fleet.clock)):
        return
    version_path(fleet.paths).unlink(missing_ok=True)  # of the guard before
    with closing(Guard(fleet, stop)) as guard:
        with logged("guard"):
            guard.forward()
        # Whoever reads this finds the ports on record open.
        version_path(fleet.paths).write_text(f"{os.getpid()} {__version__}\n")
        if service:
            _stay(guard, fleet, stop, record)
            service.release()
        else:
            _take_turns(guard, fleet, lock, stop)
        guard.make_room()
        lock.release()  # what it is ending may take minutes more, and the next one need not wait for that
        guard.see_off()


def _take_turns(guard: Guard, fleet: Fleet, lock: Lock, stop: Event) -> None:
    last_seen = fleet.clock.now()
    while not stop.is_set():
        if _lives(guard):
            last_seen = fleet.clock.now()
        elif fleet.clock.now() - last_seen >= LINGER_S:
            lock.release()
            # Whoever saw the lock held has put its deployment on record before: looking again after the release
            # means that either they start a new guard or this one goes on.
            if not fleet.store.live() or not _acquire(lock, fleet.clock):
                return
        stop.wait(TURN_S)


def _stay(guard: Guard, fleet: Fleet, stop: Event, record: tuple[int, int]) -> None:
    """Whatever lives. A record that was moved aside as corrupt, or removed, is not the one on which it will be."""
    while not stop.is_set() and _identity(fleet.store.path) == record:
        _lives(guard)
        stop.wait(TURN_S)


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _lives(guard: Guard) -> bool:
    """One turn; a record that cannot be read at this moment may hold something."""
    try:
        return guard.turn()
    except UserError as error:
        print_message(f"guard: {error}")
        return True


def _await_turn(lock: Lock, clock: Clock, stop: Event) -> bool:
    """Once nobody has had it for `SETTLE_S`; False when told to stop."""
    free_since = clock.now()
    while not stop.wait(1.0):
        if is_held(lock.path):
            free_since = clock.now()
        elif clock.now() - free_since >= SETTLE_S and lock.try_acquire():
            return True
    return False


def _acquire(lock: Lock, clock: Clock) -> bool:
    give_up_at = clock.now() + LOCK_DEADLINE_S
    while not lock.try_acquire():
        if clock.now() >= give_up_at:
            return False
        clock.sleep(0.1)
    return True


def _serve(fleet: Fleet, stop: Event) -> None:
    """As the service, of which there is one."""
    with released(Lock(service_lock_path(fleet.paths))) as service:
        if service.try_acquire():
            run(fleet, stop, service=service)


def main() -> None:
    """The process that `ensure_guard` starts; with `--stay`, the one that `gpu_cli.fleet.guard.service` becomes."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    paths = Paths.from_environ(os.environ)
    try:
        fleet = open_fleet(paths, os.environ, Clock(), print_message)
        if STAY in sys.argv:
            _serve(fleet, stop)
        else:
            run(fleet, stop)
    except (UserError, StoreCorrupt) as error:
        print_message(f"guard: {error}")
        sys.exit(1)
