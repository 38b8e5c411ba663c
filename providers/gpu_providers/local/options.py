"""The `local` section of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_providers.section import Section

_KNOWN = ("port", "price_usd_per_hour")
_LAST_PORT = 65535


@dataclass(frozen=True)
class Options:
    """`price_usd_per_hour` is what an hour of this machine costs its user; `port` is None where any will do."""

    price_usd_per_hour: float = 0.0
    port: int | None = None


def parse_options(options: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense."""
    section = Section("local", options)
    section.check_known(_KNOWN)
    return Options(
        price_usd_per_hour=section.number("price_usd_per_hour", 0.0, least=0),
        port=None if options.get("port") is None else section.whole("port", 0, least=1, most=_LAST_PORT),
    )
