"""What checks find, and how a check says it."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What one check came to; the words are for scripts too."""

    OK = "ok"
    FAILED = "failed"
    """Promised, and not so."""
    CANNOT = "cannot"
    """Not so, and nobody promised it."""
    SKIPPED = "skipped"
    """It could not be told."""


@dataclass(frozen=True)
class Finding:
    """What one check found. `detail` is one line, and holds no secret."""

    check_id: str
    name: str
    promised: bool
    outcome: Outcome
    detail: str
    seconds: float


class Broken(Exception):
    """It is not as clients expect it; the text says how."""


class Cannot(Exception):
    """The model or the server is not made for this, whatever is promised; the text says what it does instead."""


class Skipped(Exception):
    """Whether it is so cannot be told; the text says why."""
