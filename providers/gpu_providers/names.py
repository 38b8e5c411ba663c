"""The names of what we make, as every cloud takes them."""

import re

from gpu_providers.base import RESOURCE_PREFIX
from gpu_providers.errors import InvalidRequest

_NAME = re.compile(re.escape(RESOURCE_PREFIX) + r"[A-Za-z0-9][A-Za-z0-9-]{0,55}")


def check_name(name: str) -> None:
    """Raises InvalidRequest for a name that a cloud, or we, could not take."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of what is launched",
            hint=f"it begins with {RESOURCE_PREFIX} and has up to 60 letters, digits and dashes",
        )
