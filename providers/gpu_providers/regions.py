"""Regions, by what users call them."""

import re
from functools import lru_cache


@lru_cache
def is_in(wanted: str, region: str) -> bool:
    """Whether a region, by the name that its cloud has for it, is meant by words, or beginnings of words, of that
    name: `us`, `eu-ro`, `texas`.
    """
    return re.search(rf"(?<![a-z0-9]){re.escape(wanted.lower())}", region.lower()) is not None
