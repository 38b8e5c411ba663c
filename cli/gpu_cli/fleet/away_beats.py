"""The heartbeats of the guard on this machine, for the one at Modal, where there is one."""

import traceback
from collections.abc import Sequence
from threading import Thread

from gpu_cli.errors import UserError
from gpu_cli.fleet.away import beat, recorded
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.ui.output import print_message

EVERY_S = 60.0


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
            print_message(f"the guard at Modal hears nothing, and may take what runs for idle: {problem}")
        self._in_trouble = bool(problem)

    def _problem(self, live: Sequence[Deployment]) -> str:
        try:
            beat(self._fleet, live)
        except UserError as error:
            return error.message
        except Exception:  # noqa: BLE001 - whatever Modal's client does, the guard goes on; the log has the traceback
            return traceback.format_exc()
        return ""
