"""What Vast.ai answered to searches a moment ago, and until when its quota forbids to ask again.

Searches are limited to some five in ten seconds and to a number a day, so that `gpu plan` twice in a minute, or in ten
pipelines at once, asks only once. What cannot be read or written here is as if it had not been kept.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import get_ident
from typing import Any

from gpu_providers.values import Json, moment, parts, text
from gpu_providers.vast.refusals import QUOTA_LASTS

FRESH = timedelta(seconds=60)
_QUOTA = "search_quota.json"


def _now() -> datetime:
    return datetime.now(UTC)


class SearchCache:
    """Files of the provider's own folder, shared by all processes of the user."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = _now) -> None:
        self._folder = folder
        self._clock = clock

    def get(self, query: Mapping[str, Any]) -> tuple[Sequence[Json], datetime] | None:
        """The rows and when the cloud gave them; None where it has not been asked within FRESH."""
        kept = _read(self._file(query))
        as_of = moment(kept.get("as_of"))
        if as_of is None or "rows" not in kept or not timedelta(0) <= self._clock() - as_of <= FRESH:
            return None
        return parts(kept, "rows"), as_of

    def put(self, query: Mapping[str, Any], rows: Sequence[Json], as_of: datetime) -> None:
        """Keep an answer, and forget those that are no longer fresh."""
        for old in self._answers():
            with suppress(OSError):
                if self._clock().timestamp() - old.stat().st_mtime > FRESH.total_seconds():
                    old.unlink()
        _write(self._file(query), {"as_of": as_of.isoformat(), "rows": list(rows)})

    def quota_until(self) -> datetime | None:
        """When searches are answered again; None when nothing is known to forbid them.

        Later than the quota lasts is the word of a clock that was wrong.
        """
        until = moment(text(_read(self._folder / _QUOTA), "until"))
        return until if until and timedelta(0) < until - self._clock() <= QUOTA_LASTS else None

    def remember_quota(self, until: datetime) -> None:
        """No search is answered before."""
        _write(self._folder / _QUOTA, {"until": until.isoformat()})

    def _file(self, query: Mapping[str, Any]) -> Path:
        asked = json.dumps(query, sort_keys=True)
        return self._folder / f"search-{sha256(asked.encode()).hexdigest()[:32]}.json"

    def _answers(self) -> Iterator[Path]:
        return self._folder.glob("search-*")


def _read(path: Path) -> Json:
    with suppress(OSError, ValueError):
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def _write(path: Path, document: Json) -> None:
    """So that a reader finds the old one or the new one, never half of one, however many write."""
    temporary = path.with_suffix(f".{os.getpid()}-{get_ident()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(path)
