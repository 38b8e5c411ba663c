"""What an instance prints. Vast.ai has its host upload the end of it on request, to be fetched a moment later.

The official client has computed the address from key and instance alone (vast-cli, vast.py), so what lies there may be
older than the request: it is waited for what is not, and readings are put together by the lines that they share.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from gpu_providers.errors import NotFound, ProviderUnavailable, RateLimited
from gpu_providers.vast.client import VastClient
from gpu_providers.vast.instance_answers import has_started
from gpu_providers.vast.instances import checked_id

MOST_LINES = 20_000
"""Of the past, when no number is given."""
WINDOW_LINES = 2000
"""Of which each look while following asks: more than a command prints between two looks."""
FAILURES = 3
"""How many looks in a row may fail while following."""

UPLOAD_S = 12.0
"""How long a host may take to upload its log: `vastai` 1.9.1 waits for nine seconds."""

_CLOCK_S = 2.0
"""How much older than the request an upload may seem: its time is told in whole seconds."""
_LOOK_POLLS = 0.1
"""Between two looks for the upload, and before the first, in intervals of polling."""


def instance_log(
    client: VastClient, resource_id: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`; following looks every `poll_s`."""
    log = _Log(client, checked_id(resource_id), poll_s)
    wanted = MOST_LINES if tail is None else tail
    lines = log.read(max(wanted, WINDOW_LINES) if follow else wanted)
    yield from lines[max(0, len(lines) - wanted) :]
    if follow:
        yield from _following(log, lines[-WINDOW_LINES:], stop)


def new_lines(known: list[str], lines: list[str]) -> list[str]:
    """Those of `lines` that come after `known`: both are pieces of one log that only grows, as far as they agree.

    They are laid over each other so that most of them meet, and all that meet are equal. Where nothing meets, the log
    has begun anew or has outrun us, and all is new.
    """
    places = range(len(known) - 1, -len(lines), -1) if known else ()  # where in `known` the lines may begin
    meeting = {place: min(len(known), place + len(lines)) - max(place, 0) for place in places}
    for place in sorted(places, key=meeting.__getitem__, reverse=True):
        start, count = max(place, 0), meeting[place]
        if known[start : start + count] == lines[start - place : start - place + count]:
            return lines[len(known) - place :]
    return lines


@dataclass(frozen=True)
class _Log:
    """The log of one instance."""

    client: VastClient
    instance_id: str
    poll_s: float

    def read(self, lines: int) -> list[str]:
        """Its last so many; none before its container has run. Raises NotFound when the instance is gone."""
        if not has_started(self.client.instance(self.instance_id)) or not lines:
            return []
        asked_at = time.monotonic()
        said = self._uploaded(self.client.request_logs(self.instance_id, tail=lines), asked_at)
        return [line.rstrip("\r") for line in said.removesuffix("\n").split("\n")][-lines:] if said else []

    def _uploaded(self, url: str, asked_at: float) -> str:
        """What the host uploads since then; what it has before, when it does not: it may have gone for good."""
        deadline = time.monotonic() + UPLOAD_S
        while time.monotonic() < deadline:
            time.sleep(_LOOK_POLLS * self.poll_s)
            text = self.client.log_text(url, written_within_s=time.monotonic() - asked_at + _CLOCK_S)
            if text is not None:
                return text
        text = self.client.log_text(url)
        if text is None:
            raise ProviderUnavailable("the host did not upload its log in time", hint="try again in a moment")
        return text


def _following(log: _Log, known: list[str], stop: Callable[[], bool]) -> Iterator[str]:
    failures = 0
    with suppress(NotFound):
        while not stop():
            time.sleep(log.poll_s)
            try:
                found = new_lines(known, log.read(WINDOW_LINES))
            except (ProviderUnavailable, RateLimited):
                failures += 1
                if failures > FAILURES:
                    raise
                continue
            failures = 0
            known = [*known, *found][-WINDOW_LINES:]
            yield from found
