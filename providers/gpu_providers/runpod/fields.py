"""Reading RunPod's answers tolerantly: what is missing, or of another type than documented, reads as empty.

Recorded answers of the real API hold more fields and values than its specification, and lack some that it promises.
"""

from collections.abc import Mapping, Sequence

from gpu_providers.runpod.client import Json


def text(answer: Json, name: str) -> str:
    """The text under this name."""
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def part(answer: Json, name: str) -> Json:
    """The object under this name."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def parts(answer: Json, name: str) -> Sequence[Json]:
    """The objects in the list under this name."""
    value = answer.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
