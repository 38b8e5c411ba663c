"""Whether the containers of an app end again and again.

For as long as a request waits Modal starts another container after each that crashed, for ever, if less and less often
(modal.com/docs, guide/retries), and each bills.
"""

import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

from gpu_providers.base import Boot, Resource, ResourceState
from gpu_providers.errors import CommandCrashed
from gpu_providers.modal_cloud.logs import Lines

if TYPE_CHECKING:
    from modal import App

CRASH_LOOP = "crash loop"
CRASHES = 3
WITHIN = timedelta(hours=1)
"""So many ends within so long are a loop: once it may have been the card's fault."""
LOOK_POLLS = 12
"""Between two looks at the same log: a minute."""

_FAILED = "Runner failed with exit code"
"""Modal's word for a container that crashed, for whatever reason (InftyAI/Nebula#68)."""
_ENDED = "gpu: engine ended with status"
"""The entry file's word for it (templates/modal_entry.py), should Modal's own ever change."""
_ORDERED = ("130", "137", "143")
"""Statuses of an engine that may have been ended with its container. Of one that was not, Modal says that it failed."""
_TOO_LONG = "Runner has been initializing for too long"
"""Modal's word for one that it took down because its port did not open within the start-up timeout
(modal-labs/modal-examples#1154): that is as long as a start may take at all.
"""
_LAST_ENTRIES = 400
_TELLING = re.compile(r"\b\w*(?:Error|Exception)\b|\bCUDA\b|\bkilled\b", re.IGNORECASE)


def boot(resource: Resource, note: str) -> Boot:
    """An app that is deployed serves on demand, so it counts as running from the first; the detail tells of its
    containers. Raises CommandCrashed for one whose containers do not stay up.
    """
    if resource.state is ResourceState.BROKEN:
        raise CommandCrashed(resource.detail, hint="read what its containers said: https://modal.com/apps")
    running, usd_per_hour = resource.state is ResourceState.RUNNING, resource.price_usd_per_hour
    return Boot(running=running, detail=resource.detail, note=note, price_usd_per_hour=usd_per_hour)


class Crashes:
    """What the logs of apps tell of crash loops; one look at a log every `look_every_s`. Threads may share it."""

    def __init__(self, look_every_s: float) -> None:
        self._look_every_s = look_every_s
        self._looked_at: dict[str, float] = {}
        self._why: dict[str, str] = {}
        self._lock = Lock()

    def of(self, app: "App") -> str:
        """Why it will not work again by itself, by the latest look; empty where nothing says so."""
        app_id, now = str(app.app_id), time.monotonic()
        with self._lock:
            if now - self._looked_at.get(app_id, -self._look_every_s) < self._look_every_s:
                return self._why.get(app_id, "")
            self._looked_at[app_id] = now
        self._why[app_id] = _why_broken(app)
        return self._why[app_id]


def _why_broken(app: "App") -> str:
    """A log that cannot be read proves nothing."""
    import modal

    with suppress(modal.exception.Error):
        if _found(app, _TOO_LONG):
            return "Modal took a container down: its port did not open in all the time that a start may take"
        ends = [line for line in _found(app, _ENDED) if line.split()[-1] not in _ORDERED]
        crashes = max(ends, _found(app, _FAILED), key=len)
        if len(crashes) >= CRASHES:
            return f"{CRASH_LOOP}: {len(crashes)} containers crashed, the last with status {_last_words(app, crashes)}"
    return ""


def _found(app: "App", text: str) -> list[str]:
    """The latest lines with this text, whatever Modal's search takes for a match."""
    entries = app.logs.fetch(since=datetime.now(UTC) - WITHIN, search_text=text)
    return [line for entry in entries for line in entry.message.splitlines() if text in line]


def _last_words(app: "App", crashes: list[str]) -> str:
    """The status of the last one, and what was said before it, as far as that tells anything."""
    status = crashes[-1].split()[-1]
    lines = Lines().of(app.logs.tail(_LAST_ENTRIES))
    last = max((number for number, line in enumerate(lines) if line in crashes), default=0)
    told = next((line.strip() for line in reversed(lines[:last]) if _TELLING.search(line)), "")
    return f"{status}: {told}" if told else status
