"""The heartbeats of the guard on this machine, for the one at Modal, where there is one."""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from gpu_cli.errors import UserError
from gpu_cli.fleet.away.record import note, recorded, seen
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.ui.output import print_message

EVERY_S = 60.0
UNHEARD = "the guard at Modal hears nothing from here, and may end what is in use"


class Heartbeats:
    """Told in a thread of their own: a Modal that is slow, or out of reach, holds up nothing here."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._due_at = 0.0
        self._telling: Thread | None = None
        self._in_trouble = False

    def tell(self, live: Sequence[Deployment]) -> None:
        """Once a minute, and not before the last one has been told. Never raises, never waits."""
        now = self._fleet.clock.now()
        if now < self._due_at or (self._telling and self._telling.is_alive()):
            return
        self._due_at = now + EVERY_S
        if recorded(self._fleet.paths):
            self._telling = Thread(target=self._tell, args=(live,), name="heartbeats", daemon=True)
            self._telling.start()

    def _tell(self, live: Sequence[Deployment]) -> None:
        problem = self._problem(live)
        if problem and not self._in_trouble:
            print_message(problem)
        self._in_trouble = bool(problem)

    def _problem(self, live: Sequence[Deployment]) -> str:
        from gpu_cli.fleet.away.deploy import beat  # it is for few, and `gpu up` waits for the guard's start

        try:
            beat(self._fleet, live)
        except UserError as error:
            return self._noted(error.message)
        except Exception as error:  # noqa: BLE001 - whatever Modal's client does, the guard goes on; the log has it all
            return f"{self._noted(type(error).__name__)}\n{traceback.format_exc()}"
        return seen(self._fleet.paths).problem

    def _noted(self, why: str) -> str:
        """For `gpu ls`: nobody reads logs."""
        trouble = f"{UNHEARD}: {why}"
        with suppress(UserError):
            note(self._fleet.paths, trouble=trouble)
        return trouble
