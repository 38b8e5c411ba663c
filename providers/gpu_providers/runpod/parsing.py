"""Reading the API's values tolerantly: fields may be missing, null, or numbers written as text."""

import math
import re
from datetime import UTC, datetime

_GO_TIME = re.compile(r"(\S+) (\S+) ([+-]\d{4})(?: \S+)?")


def number(value: object) -> float | None:
    """A finite number, also of text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def moment(value: object) -> datetime | None:
    """A point in time, UTC; None for anything else.

    RunPod has been seen to write RFC 3339, with up to nine digits of a second, and what Go prints by default:
    `2026-08-20 06:16:19.436 +0000 UTC`.
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(_GO_TIME.sub(r"\1T\2\3", value.strip()))
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
