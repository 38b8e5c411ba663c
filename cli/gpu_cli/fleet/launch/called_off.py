"""`gpu down` to a launch that is between two orders: nothing of it is on record then that could be ended."""

from collections.abc import Collection
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import ON_REQUEST
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.locks import is_held


def call_off_launches(fleet: Fleet, names: Collection[str]) -> None:
    """Let the launches of these names that are under way order nothing more (without names: all that are).

    To be called before the record is looked at: what a launch puts there later, it takes back by itself.
    """
    locks = fleet.launch_lock_path("any").parent.glob("*.lock")
    meant = {one.name for name in names if (one := fleet.store.last_named(name))} | {*names}
    for name in meant or {path.stem for path in locks}:
        if is_held(fleet.launch_lock_path(name)):
            _mark(fleet, name).touch(mode=0o600)


def begin_launch(fleet: Fleet, name: str) -> None:
    """Of who has just got the launch lock: what was said of the launch before is no matter."""
    _mark(fleet, name).unlink(missing_ok=True)


def check_not_called_off(fleet: Fleet, name: str) -> None:
    """Raises UserError when it was. To be called with the order on record."""
    if _mark(fleet, name).exists():
        message = f"{name} was ended while it was starting ({ON_REQUEST})"
        raise UserError(Exit.NEVER_HEALTHY, "ended-while-starting", message)


def _mark(fleet: Fleet, name: str) -> Path:
    return fleet.launch_lock_path(name).with_name(f"{name}.called-off")
