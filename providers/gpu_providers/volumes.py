"""What clouds with network volumes have in common."""

from collections.abc import Sequence

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest


def chosen(wanted: str, found: Sequence[Volume], *, provider: str, cloud: str, what: str) -> Volume:
    """The volume of this id or name. `cloud` and `what` are what it and its volumes are called.

    Raises InvalidRequest when there is none, or several of the name.
    """
    matching = [volume for volume in found if volume.volume_id == wanted] or [
        volume for volume in found if volume.name == wanted
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = ", ".join(volume.volume_id for volume in matching)
        raise InvalidRequest(f"several {what}s are called {wanted!r}: {ids}", hint="give the id of one")
    there = ", ".join(volume.name for volume in found) or "none"
    hint = f"there are: {there}; make one: gpu volume create {wanted} --provider {provider}"
    raise InvalidRequest(f"{cloud} has no {what} {wanted!r}", hint=hint)
