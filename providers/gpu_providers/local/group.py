"""The processes of one resource: which they are, and how they end.

A process is ours when it is the recorded one (pid and time of creation), or when it carries the marker of the
resource's folder. Nothing else is ever signalled.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_providers.local import client, record
from gpu_providers.local.client import Process
from gpu_providers.local.record import Record

_ORPHAN_GRACE_S = 3.0
"""For what outlived the main process: nobody is left who would manage its end."""
_KILL_DEADLINE_S = 10.0
"""A process that a driver holds may take seconds to die even of SIGKILL."""


@dataclass(frozen=True)
class Group:
    """What was found living of one resource."""

    entry: Record | None
    main: Process | None
    """None when only descendants are left."""
    found: Sequence[Process]
    """Never empty. Not all of them where the main process was found by its record: then nothing else is searched."""


def marked(folder: Path) -> Sequence[Process]:
    """All that carry the folder's marker, oldest first. Looks at every process of the machine."""
    return client.marked(folder.parent).get(folder, ())


def look(folder: Path, search: Callable[[Path], Sequence[Process]] = marked) -> Group | None:
    """What lives of the resource of this folder; None when nothing does.

    `search` is asked for the marked ones when the recorded main process does not live.
    """
    entry = record.load(folder)
    if entry and entry.process and client.is_alive(entry.process):
        return Group(entry, entry.process, (entry.process,))
    found = search(folder)
    return Group(entry, _main_among(found, entry), found) if found else None


def _main_among(found: Sequence[Process], entry: Record | None) -> Process | None:
    """A step of the system clock shifts times of creation: among those that carry the marker, the pid is proof enough.

    Where the launcher did not live to record a pid, it is the oldest: all others descend from it.
    """
    if entry is None or entry.process is None:
        return found[0]
    return next((process for process in found if process.pid == entry.process.pid), None)


def end(folder: Path, grace_s: float) -> bool:
    """End all of it, and say whether nothing is left.

    The main process is asked first and has `grace_s` to end the rest in good order; without one the rest is asked.
    Then all that is left is killed.
    """
    group = look(folder)
    if group is None:
        return True
    main = group.main
    if main is not None:
        client.send([main], signal.SIGTERM)
        client.wait_until(lambda: not client.is_alive(main), grace_s)
    else:
        client.send(group.found, signal.SIGTERM)
        client.wait_until(lambda: not marked(folder), _ORPHAN_GRACE_S)
    return kill(folder)


def kill(folder: Path) -> bool:
    """Kill all of it, what is being started meanwhile included, and say whether nothing is left."""
    return client.wait_until(lambda: not _send_kill(folder), _KILL_DEADLINE_S)


def _send_kill(folder: Path) -> bool:
    """Whether there was anything left to kill."""
    group = look(folder)
    if group is not None:
        client.send((*group.found, *marked(folder)), signal.SIGKILL)
    return group is not None
