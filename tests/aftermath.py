"""What a failed test tells besides its traceback: the record, the guard's log, and what its cloud says that runs."""

import reprlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from driver import Gpu
from emulators.cloud import Cloud

LOG_LINES = 80
LOCK_S = 2.0
"""A cloud that hangs is no reason to hang as well."""

T = TypeVar("T")


def aftermath(fixtures: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Titles and texts, by the values of a test's fixtures: one for each thing that is there to be told of."""
    found = {id(one): one for one in (getattr(fixture, "gpu", fixture) for fixture in fixtures)}
    for one in found.values():
        if isinstance(one, Cloud):
            yield type(one).__name__, _told(_running, one)
        elif isinstance(one, Gpu):
            record, log = one.home / "state" / "gpu.db", one.home / "state" / "logs" / "guard.log"
            if record.is_file():
                yield f"deployments of {one.home}", _told(_recorded, record)
            if log.is_file():
                yield f"guard of {one.home}", _told(_last_lines, log)


def _told(tell: Callable[[T], str], about: T) -> str:
    try:
        return tell(about)
    except Exception as error:  # noqa: BLE001 - the test's own failure is what has to be told
        return f"cannot be told: {error!r}"


def _recorded(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        deployments = [str(dict(row)) for row in connection.execute("SELECT * FROM deployments ORDER BY created_at")]
        events = [str(tuple(row)) for row in connection.execute("SELECT * FROM events ORDER BY id")]
    return "\n".join([*deployments, *events])


def _last_lines(file: Path) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-LOG_LINES:])


def _running(cloud: Cloud) -> str:
    if not cloud.lock.acquire(timeout=LOCK_S):
        return f"it has been busy for {LOCK_S:g} s"
    try:
        state: dict[str, Any] = cloud.state()
    finally:
        cloud.lock.release()
    shorten = reprlib.Repr()
    shorten.maxdict, shorten.maxstring, shorten.maxother = 200, 80, 80
    rows = [(kind, one) for kind, told in state.items() for one in (told if isinstance(told, list) else [told])]
    return "\n".join(f"{kind}: {shorten.repr(one)}" for kind, one in rows)
