"""What this machine knows of the guard at Modal: that it was deployed from here, and whether it is at work."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpu_cli.paths import Paths
from gpu_cli.state_files import kept_in, read_object

CLOUD = "lambda"
"""Whose machines it ends: nothing on them can, and no limit of the cloud's own does."""
EVERY_MINUTES = 5
LATE_S = 3 * EVERY_MINUTES * 60.0
"""For how long it may take no turn and still counts as at work."""
STANDS_STILL = "the guard at Modal takes no turns any more (gpu guard deploy --on modal)"


@dataclass(frozen=True)
class Away:
    """A guard that runs elsewhere."""

    on: str
    """`modal`."""
    deployed_at: float
    """Seconds since the epoch, UTC."""
    account: str
    """Whose instances it ends, as `Provider.account` tells it."""


@dataclass(frozen=True)
class Seen:
    """What Modal said of it when it was last asked, and how the guard here gets through to it."""

    asked_at: float = 0.0
    turned_at: float = 0.0
    """When it ended its last turn that Lambda answered; 0 when there is no such guard any more."""
    behind_s: float = 0.0
    """By how much the clock here was behind Modal's, at least, when a turn was first seen."""
    trouble: str = ""
    """That the guard here could not tell it what is in use, the last time it tried, and why; empty when it could."""

    @property
    def at_work(self) -> bool:
        """Also while Modal is out of reach from here: it needs nothing of this machine."""
        return self.asked_at - self.turned_at < LATE_S

    @property
    def problem(self) -> str:
        """What the user has to know of it, one line; empty when all is well."""
        return self.trouble if self.at_work else STANDS_STILL


def recorded(paths: Paths) -> Away | None:
    """The one that this side has deployed; None also when the record cannot be read."""
    try:
        return Away(**read_object(_record(paths)))
    except TypeError:
        return None


def seen(paths: Paths) -> Seen:
    """As it was seen last; nothing speaks against one that nobody has looked at."""
    try:
        return Seen(**read_object(_sight(paths)))
    except TypeError:
        return Seen()


def record(paths: Paths, away: Away, sight: Seen) -> None:
    """Deployed, and seen at work. Raises UserError when that cannot be kept."""
    _write(_sight(paths), asdict(sight))
    _write(_record(paths), asdict(away))


def note(paths: Paths, **changes: float | str) -> None:
    """It was seen. Raises UserError."""
    _write(_sight(paths), asdict(replace(seen(paths), **changes)))  # type: ignore[arg-type]


def forget(paths: Paths) -> None:
    """There is none."""
    for path in (_record(paths), _sight(paths)):
        path.unlink(missing_ok=True)


def _record(paths: Paths) -> Path:
    return paths.state / "away.json"


def _sight(paths: Paths) -> Path:
    return paths.state / "away-seen.json"


def _write(path: Path, document: Mapping[str, object]) -> None:
    """In one step: others read it meanwhile. 0600: it names an account."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with kept_in(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        new.replace(path)
