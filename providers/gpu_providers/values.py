"""Reading the clouds' answers tolerantly: what is missing, or of another type than documented, reads as empty.

Recorded answers of real APIs hold more fields and values than their specifications, and lack some that those promise.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gpu_providers.errors import ProviderUnavailable

Json = Mapping[str, Any]
"""An object of an API: it has fields that we do not know, and any that we know may be missing."""

_GO_TIME = re.compile(r"(\S+) (\S+) ([+-]\d{4})(?: \S+)?")


def text(answer: Json, name: str) -> str:
    """The text under this name."""
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def id_of(answer: Json) -> str:
    """Its id. Raises ProviderUnavailable where there is none: ended by an empty id, a thing would seem to be gone."""
    if found := text(answer, "id"):
        return found
    raise ProviderUnavailable("the cloud's answer tells of something without its id", hint="try again later")


def part(answer: Json, name: str) -> Json:
    """The object under this name."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def parts(answer: Json, name: str) -> Sequence[Json]:
    """The objects in the list under this name."""
    value = answer.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


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
