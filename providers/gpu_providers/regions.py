"""Regions, by what users call them."""

import re
from functools import lru_cache

_OF_THE_EU = frozenset({
    "at", "be", "bg", "cy", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hr", "hu",
    "ie", "it", "lt", "lu", "lv", "mt", "nl", "pl", "pt", "ro", "se", "si", "sk",
})  # fmt: skip
"""Countries of the European Union by their codes (ISO 3166-1), in which the places of some clouds end: `Sweden, SE`."""


@lru_cache
def is_in(wanted: str, region: str) -> bool:
    """Whether a region, by the name that its cloud has for it, is meant by words, or beginnings of words, of that
    name: `us`, `eu-ro`, `texas`. `eu` also means every country of the European Union.
    """
    if wanted.lower() == "eu" and region.lower().rpartition(", ")[2] in _OF_THE_EU:
        return True
    return re.search(rf"(?<![a-z0-9]){re.escape(wanted.lower())}", region.lower()) is not None
