"""What is kept with an instance: our labels, and when it was ordered, which Lambda does not say.

A tag's key begins with a letter, has up to 55 of `a-z0-9-:`, and its value up to 128 characters (Lambda's OpenAPI
document, 1.10.0). Tags cannot be changed later, and no list can be filtered by them.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from gpu_providers.values import Json, mark, number, objects, text

PREFIX = "gpu-cli:"
_ORDERED_AT = "ordered_at"
_KEY = re.compile(r"[a-z][a-z0-9:-]{1,54}")
_MOST_CHARACTERS = 128


def tags_of(labels: Mapping[str, str], ordered_at: datetime) -> list[dict[str, str]]:
    """As a launch has them. A label that says nothing, or cannot be a tag, is left out: they are for a store that was
    lost."""
    marks = {**labels, _ORDERED_AT: str(int(ordered_at.timestamp()))}
    keyed = {PREFIX + name.replace("_", "-"): value for name, value in marks.items()}
    return [{"key": key, "value": value} for key, value in keyed.items() if _fits(key, value)]


def labels_of(instance: Json) -> dict[str, str]:
    """The labels that were given, as far as they could be kept."""
    marks = _marks(instance)
    marks.pop(_ORDERED_AT, None)
    return marks


def ordered_at(instance: Json) -> datetime | None:
    """UTC; None where it is not known."""
    with suppress(ValueError, OverflowError, OSError):
        if since_epoch_s := number(_marks(instance).get(_ORDERED_AT)):
            return datetime.fromtimestamp(since_epoch_s, UTC)
    return None


def is_marked(instance: Json) -> bool:
    """Whether it has a tag of ours: somebody's instance that is called gpu-something has none."""
    return bool(_marks(instance))


def _marks(instance: Json) -> dict[str, str]:
    shown = objects(mark(instance, "tags", list) or [], "tags")
    tags = {text(tag, "key"): text(tag, "value") for tag in shown}
    return {key.removeprefix(PREFIX).replace("-", "_"): value for key, value in tags.items() if key.startswith(PREFIX)}


def _fits(key: str, value: str) -> bool:
    return _KEY.fullmatch(key) is not None and 0 < len(value) <= _MOST_CHARACTERS
