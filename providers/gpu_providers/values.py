"""Reading the clouds' answers tolerantly: what is missing, or of another type than documented, reads as empty.

Recorded answers of real APIs hold more fields and values than their specifications, and lack some that those promise.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from gpu_providers.errors import ProviderUnavailable

Json = Mapping[str, Any]
"""An object of an API: it has fields that we do not know, and any that we know may be missing."""

_TOO_LARGE = 1e200
_HALF_A_CHARACTER = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
_HOST = re.compile(r"[0-9A-Za-z_.:-]{1,253}")
_GO_TIME = re.compile(r"(\S+) (\S+) ([+-]\d{4})(?: \S+)?")


def parsed(document: str) -> Any:
    """The JSON in it, with no text that could not be written down. Raises ValueError, also where it is nested too deep
    to be read.
    """
    try:
        found = json.loads(document)
        if _HALF_A_CHARACTER.search(document):
            found = json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return found


def objects(rows: object, what: str) -> list[Json]:
    """The rows of a list of objects, and no other: what a damaged list lacks would pass for gone.

    Raises ProviderUnavailable; `what` is how people call the list.
    """
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        return rows
    raise ProviderUnavailable(f"the cloud's answer holds no list of {what}", hint="try again later")


def text(answer: Json, name: str) -> str:
    """The text under this name."""
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def id_of(answer: Json) -> str:
    """Its id. Raises ProviderUnavailable where there is none: ended by an empty id, a thing would seem to be gone."""
    if found := text(answer, "id"):
        return found
    raise ProviderUnavailable("the cloud's answer tells of something without its id", hint="try again later")


def mark(answer: Json, name: str, *kinds: type) -> Any:
    """What is under this name, of one of these types, or None for nothing: that by which a thing is known to be ours.

    Raises ProviderUnavailable for any other type: taken for nothing, it would make the thing somebody else's.
    """
    value = answer.get(name)
    if value is None or isinstance(value, kinds):
        return value
    raise ProviderUnavailable(f"the cloud's answer has a {name} that cannot be read", hint="try again later")


def part(answer: Json, name: str) -> Json:
    """The object under this name."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def parts(answer: Json, name: str) -> Sequence[Json]:
    """The objects in the list under this name."""
    value = answer.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def number(value: object) -> float | None:
    """A number, also of text; None for anything else, and for one so large that a sum of such is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if abs(parsed) < _TOO_LARGE else None


def amount(value: object) -> float | None:
    """As `number`, for what is never less than zero: prices, sizes, spans of time."""
    found = number(value)
    return found if found is not None and found >= 0 else None


def web_url(value: str) -> str:
    """This, where it is the URL of something that can be asked over HTTP, else empty."""
    with suppress(ValueError):
        url = urlsplit(value)
        if url.scheme in ("http", "https") and _HOST.fullmatch(url.hostname or "") and url.port != 0:
            return value
    return ""


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
