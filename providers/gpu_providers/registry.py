"""Providers are found through the entry point group `gpu_providers`; ours come in by the same door as a plug-in's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpu_providers.base import Provider, ProviderContext
from gpu_providers.errors import InvalidRequest, ProviderUnavailable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "gpu_providers"


def available() -> "Mapping[str, EntryPoint]":
    """Every installed provider by name; none is imported."""
    from importlib.metadata import entry_points  # slow to import, and `gpu ls` of nothing asks no provider

    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def load(name: str, context: ProviderContext) -> Provider:
    """The provider of this name.

    Raises InvalidRequest for a name that is not installed, and ProviderUnavailable for one that does not load: a
    broken plug-in is named, and must never hold up the others.
    """
    points = available()
    if name not in points:
        raise InvalidRequest(f"unknown provider {name!r}", hint=f"installed: {', '.join(points)}")
    try:
        factory = points[name].load()
        provider = factory(context)
    except (Exception, SystemExit) as error:  # a plug-in's import may fail in any way
        raise ProviderUnavailable(
            f"provider {name!r} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"reinstall or remove the package that provides it ({points[name].value})",
        ) from error
    if not isinstance(provider, Provider):
        raise ProviderUnavailable(f"provider {name!r} is no Provider", hint=f"see {points[name].value}")
    return provider
