"""What the containers of an app print, and what Modal says of them: the past, and on request what comes after it.

Modal keeps an app's log when the app is gone (modal/app.py, `App.lookup`, 1.6.4). Its entries are pieces of output, not
lines, and it hands them out some seconds after they were written, not always in order.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpu_providers.errors import NotFound
from gpu_providers.modal_cloud.lifecycle import has_ended, looked_up
from gpu_providers.modal_cloud.session import Session

if TYPE_CHECKING:
    from modal.types import LogEntry

MOST_ENTRIES = 20_000
"""In one answer (modal/_logs.py, 1.6.4)."""
OVERLAP = timedelta(seconds=60)
"""How late an entry may be handed out and is still seen by those who follow."""

_ENTRIES_PER_LINE = 2
"""Python writes a line and its end apart where its output is not buffered."""
_FEWEST_ENTRIES = 100
_LONGEST = timedelta(days=30)
"""As far back as the SDK itself looks (modal/_logs.py, 1.6.4)."""
_LINE_END = re.compile(r"\r\n|\n|\r(?=[^\n])")


def app_log(
    session: Session, app_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`. Where a stream of Modal's begins is not documented: the log is asked every `poll_s`."""
    log = _Log(session, app_id)
    lines = log.past(MOST_ENTRIES if tail is None else tail)
    if not follow:
        lines += log.rest()
    yield from lines if tail is None else lines[max(0, len(lines) - tail) :]
    if follow:
        yield from _following(log, stop, poll_s)


def _following(log: "_Log", stop: Callable[[], bool], poll_s: float) -> Iterator[str]:
    with suppress(NotFound):
        while not (log.is_over or stop()):
            time.sleep(poll_s)
            yield from log.coming()
    yield from log.rest()


class Lines:
    """Pieces of the output of several containers, put together to lines."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], str] = {}
        """What has no end yet, by container and stream."""

    def of(self, entries: "Iterable[LogEntry]") -> list[str]:
        """The lines that are whole now. A carriage return ends one, as bars of progress have it; and what Modal itself
        says is always whole.
        """
        lines: list[str] = []
        for entry in entries:
            stream = (entry.context_ids[-1] if entry.context_ids else "", entry.source)
            end = "\n" if entry.source == "system" and not entry.message.endswith("\n") else ""
            *whole, self._begun[stream] = _LINE_END.split(self._begun.get(stream, "") + entry.message + end)
            lines += whole
        return lines

    def rest(self) -> list[str]:
        """What was begun, and will have no end."""
        begun, self._begun = self._begun.values(), {}
        return [line for line in (text.rstrip("\r") for text in begun) if line]


class _Log:
    """One log, read in several goes, each entry once."""

    is_over = False
    """The app has ended, and what it said was read after that."""

    def __init__(self, session: Session, app_id: str) -> None:
        self._session = session
        self._app_id = app_id
        self._lines = Lines()
        self._known: dict[object, datetime] = {}
        """When the entries were written that a reading may bring again."""
        self._begins = datetime.now(UTC) - _LONGEST
        """What is older is known, or is not wanted."""

    def past(self, most_lines: int) -> list[str]:
        """At least so many of the last lines, as far as there are. Raises NotFound."""
        most = min(MOST_ENTRIES, _ENTRIES_PER_LINE * most_lines + _FEWEST_ENTRIES)
        with self._session.call(f"read the log of {self._app_id}") as client:
            entries = list(looked_up(client, self._app_id).logs.tail(most))
        if len(entries) >= most:
            self._begins = entries[0].timestamp
        return self._lines.of(self._new(entries))

    def coming(self) -> list[str]:
        """The lines that have ended since. Raises NotFound."""
        with self._session.call(f"read the log of {self._app_id}") as client:
            app = looked_up(client, self._app_id)
            self.is_over = has_ended(app.info(refresh=True))
            entries = list(app.logs.fetch(since=self._since()))
        return self._lines.of(self._new(entries))

    def rest(self) -> list[str]:
        return self._lines.rest()

    def _since(self) -> datetime:
        """A little before the newest that is known, and before now by any clock."""
        newest = max(self._known.values(), default=self._begins + OVERLAP)
        return min(newest, datetime.now(UTC)) - OVERLAP

    def _new(self, entries: "Iterable[LogEntry]") -> "Iterator[LogEntry]":
        for entry in entries:
            key = (entry.timestamp, entry.source, entry.message, *entry.context_ids)
            if entry.timestamp >= self._begins and key not in self._known:
                self._known[key] = entry.timestamp
                yield entry
        since = self._since()
        self._known = {key: at for key, at in self._known.items() if at >= since}
