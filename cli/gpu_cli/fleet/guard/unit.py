"""The guard of this machine as a service of the user's.

As a service it comes back after a crash, and with the next login; what only a command has started does not.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.environment import KeptEnvironment, reach_of
from gpu_cli.fleet.guard.process import ensure_guard, guard_log_path
from gpu_cli.fleet.guard.service import SERVICE_MODULE, service_lock_path
from gpu_cli.fleet.guard.services import NAME, ServiceManager, service_manager
from gpu_cli.locks import is_held
from gpu_cli.write_file import write_text

START_S = 15.0
"""How long the service may take to its first word."""


@dataclass(frozen=True)
class Installed:
    """The guard as a service, for this state folder."""

    path: Path
    """The file that defines it."""
    active: bool
    """It runs."""
    enabled: bool
    """It comes back after a reboot: nobody has disabled it since."""
    current: bool
    """It has all by which this command reaches clouds, keys as they are now."""


def installed(fleet: Fleet) -> Installed | None:
    """The service; None when there is none for this state folder."""
    manager, kept = service_manager(fleet.environ), KeptEnvironment(fleet.paths)
    if not manager.defines(str(kept.file)):
        return None
    active = is_held(service_lock_path(fleet.paths))
    current = reach_of(fleet.environ).items() <= kept.read().items()
    return Installed(manager.path, active, manager.enabled, current)


def is_installed(fleet: Fleet) -> bool:
    """Whether the service can be counted on for all that this command launches."""
    service = installed(fleet)
    return service is not None and service.active and service.enabled and service.current


def install(fleet: Fleet) -> Sequence[str]:
    """Define the service, or define it anew, and start it; hints for the user, a line each.

    Raises UserError when the service manager does not start it; of a first try nothing is left then.
    """
    manager, is_first = service_manager(fleet.environ), installed(fleet) is None
    if is_first and manager.path.exists():
        raise UserError(
            Exit.BAD_INPUT,
            "installed-elsewhere",
            f"{manager.path} is there already, for another state folder",
            hint="uninstall that one first (gpu guard uninstall, with its GPU_HOME), or remove the file",
        )
    manager.look()
    try:
        names = _define(fleet, manager)
        manager.start()
        _await_service(fleet)
    except UserError:
        if is_first:
            with suppress(UserError):  # the reason why is what the user has to know
                manager.stop()
            _remove(fleet, manager)
        raise
    return [_what_it_has(fleet, names), *filter(None, (manager.hint(),))]


def uninstall(fleet: Fleet) -> bool:
    """Stop the service and remove all of it; False when there is none. What lives is guarded as without it.

    Raises UserError when the service manager does not stop it.
    """
    if installed(fleet) is None:
        return False
    manager, reach = service_manager(fleet.environ), reach_of(KeptEnvironment(fleet.paths).read())
    manager.stop()
    _remove(fleet, manager)
    if fleet.store.live():
        ensure_guard(replace(fleet, environ={**reach, **fleet.environ}))  # it may live where only the service reached
    manager.look()
    return True


def _define(fleet: Fleet, manager: ServiceManager) -> Sequence[str]:
    """Write all that it needs; the names of the variables by which it reaches clouds."""
    environment = KeptEnvironment(fleet.paths)
    kept = environment.keep(fleet.environ)
    write_text(manager.path, manager.definition([sys.executable, "-m", SERVICE_MODULE, str(environment.file)]))
    return sorted(reach_of(kept))


def _remove(fleet: Fleet, manager: ServiceManager) -> None:
    manager.path.unlink(missing_ok=True)
    KeptEnvironment(fleet.paths).drop()


def _await_service(fleet: Fleet) -> None:
    give_up_at = fleet.clock.now() + START_S
    while not is_held(service_lock_path(fleet.paths)):
        if fleet.clock.now() >= give_up_at:
            message = f"{NAME} was started, and does not come up"
            raise UserError(Exit.LAUNCH_FAILED, "service-failed", message, hint=f"see {guard_log_path(fleet.paths)}")
        fleet.clock.sleep(0.05)


def _what_it_has(fleet: Fleet, names: Sequence[str]) -> str:
    if not names:
        return "it reads the clouds' own key files: this shell has no variables with keys"
    file = KeptEnvironment(fleet.paths).file
    return f"it has {', '.join(names)} (in {file}, for you alone); after a change: gpu guard install again"
