"""What runs at the clouds and should not: now and then the guard compares them with the record.

What the record says has ended is ended again: it was launched from here. What is on no record here may be another
machine's: it is told of and left alone (`gpu gc` and `gpu adopt` are for that).
"""

import contextlib
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from threading import Thread

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import STARTING, Deployment
from gpu_cli.fleet.end.replace import replace_all_lost
from gpu_cli.fleet.end.teardown import destroy
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.deeds import tell
from gpu_cli.fleet.guard.lane import logged
from gpu_cli.fleet.guard.strangers import Stranger, strangers_of
from gpu_cli.fleet.market.ask_all import ask_all
from gpu_cli.fleet.recover import described
from gpu_cli.locks import is_held
from gpu_cli.ui.output import print_message
from gpu_providers.base import Resource
from gpu_providers.errors import NotFound, ProviderError

EVERY_S = 3600.0
AGAIN_S = 600.0
PATIENCE_S = 60.0


def sweep(fleet: Fleet, tell: Callable[[str], None]) -> bool:
    """Look at every cloud on record. Whether all have answered, and nothing is left that should not be there."""
    names = [row["provider"] for row in fleet.store.rows("SELECT DISTINCT provider FROM deployments")]
    told = ask_all(fleet, names, lambda provider: list(provider.list_resources()), PATIENCE_S)
    answered = {name: answer for name, answer in told.items() if not isinstance(answer, ProviderError)}
    # After the lists were made: what is being launched is on record before its cloud knows of it.
    known = [(one, _on_record(fleet, one.name)) for listed in answered.values() for one in listed]
    _tell_of(fleet, [Stranger(one.name, one.provider) for one, deployment in known if not deployment], answered, tell)
    left = [one for one, deployment in known if deployment and not _is_in_order(fleet, one, deployment, tell)]
    return len(answered) == len(told) and not left


class Sweeps:
    """When they are due, in a thread that nobody waits for."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rest = (math.inf, math.inf)
        """From when until when there is none."""
        self._sweeping: Thread | None = None

    def begin_if_due(self) -> None:
        """At first, then once an hour; sooner where that was not all, and when the clock has been set back."""
        now, (since, until) = self._fleet.clock.now(), self._rest
        if since <= now < until or (self._sweeping and self._sweeping.is_alive()):
            return
        self._rest = now, now + EVERY_S
        self._sweeping = Thread(target=self._sweep, args=(now,), name="sweep", daemon=True)
        self._sweeping.start()

    def _sweep(self, now: float) -> None:
        with logged("guard"), self._fleet.apart() as fleet:
            for said in replace_all_lost(fleet):
                tell(fleet, said)
            if not sweep(fleet, partial(tell, fleet)):
                self._rest = now, now + AGAIN_S


def _tell_of(fleet: Fleet, found: Sequence[Stranger], clouds: Collection[str], tell: Callable[[str], None]) -> None:
    """Each once. Of a cloud that has not answered, those of before are."""
    before = strangers_of(fleet).read()
    now = [*found, *(one for one in before if one.provider not in clouds)]
    for one in found:
        if one not in before:
            tell(f"{one.resource_name} runs at {one.provider}, on no record here: see gpu ls --remote")
    if now != before:
        strangers_of(fleet).keep(now)


def _on_record(fleet: Fleet, resource_name: str) -> Deployment | None:
    with contextlib.suppress(KeyError):
        return fleet.store.get(resource_name)
    return None


def _is_in_order(fleet: Fleet, resource: Resource, deployment: Deployment, tell: Callable[[str], None]) -> bool:
    """Whether it may be there, or is not there any more: what should have ended is ended. Trouble is for the log."""
    try:
        if _is_orphan(fleet, resource, deployment):
            tell(f"{resource.name} should have ended and still runs at {resource.provider}: ending it")
            sparing = [deployment.resource_id] if deployment.is_live else []
            destroy(fleet, described(resource, fleet.clock.now()), sparing=sparing)
    except (UserError, ProviderError) as error:
        print_message(f"{resource.name}: {error}")
        return False
    return True


def _is_orphan(fleet: Fleet, resource: Resource, deployment: Deployment) -> bool:
    """Lists are slow to forget: it has to be there when it is looked at. A launch that is under way sees to itself."""
    if deployment.is_live and deployment.resource_id in ("", resource.resource_id):
        return False
    if deployment.state in STARTING and is_held(fleet.launch_lock_path(deployment.name)):
        return False
    try:
        fleet.provider(resource.provider).describe(resource.resource_id)
    except NotFound:
        return False
    return True
