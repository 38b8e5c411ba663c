"""The `local` section of a recipe."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_providers.errors import InvalidRequest

_KNOWN = ("port", "price_usd_per_hour")


@dataclass(frozen=True)
class Options:
    """`price_usd_per_hour` is what an hour of this machine costs its user; `port` is None where any will do."""

    price_usd_per_hour: float = 0.0
    port: int | None = None


def parse_options(options: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense."""
    for key in options:
        if key not in _KNOWN:
            near = difflib.get_close_matches(key, _KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(_KNOWN)}"
            raise InvalidRequest(f"provider local has no option {key!r}", hint=hint)
    return Options(_price(options.get("price_usd_per_hour", 0.0)), _port(options.get("port")))


def _price(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidRequest(
            f"provider local: price_usd_per_hour is {value!r}",
            hint="give the USD that an hour of this machine costs you, 0 or more",
        )
    return float(value)


def _port(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise InvalidRequest(
            f"provider local: port is {value!r}", hint="give a number from 1 to 65535, or leave it out"
        )
    return value
