"""The `modal` section of a recipe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gpu_providers.section import Section

_KNOWN = ("endpoint", "cpu", "memory_gib", "region", "max_containers", "timeout_s", "registry_secret")
_REGION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SECRET = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_TIMEOUT_S = 86400
_MOST_CONTAINERS = 1000
"""What one workspace can have of them on a paid plan (modal.com/pricing)."""


class Endpoint(StrEnum):
    """What answers at the URL."""

    FUNCTION = "function"
    """A web Function: a request that finds no container waits until one has started, and is answered by it."""
    SERVER = "server"
    """A Server: less on the way, and 503 for each request until a container is ready."""


@dataclass(frozen=True)
class Options:
    """What a recipe may say about Modal; the defaults are what it gets that says nothing."""

    endpoint: Endpoint = Endpoint.FUNCTION
    """With the other, the first requests after every pause fail: clients have to try again."""
    cpu: float | None = None
    """Physical cores of a container; None for as many as its GPUs need."""
    memory_gib: float | None = None
    """Memory of a container; None for as much as its GPUs need."""
    regions: tuple[str, ...] = ()
    """As Modal names them, `us` or `us-east`: any of these, at a higher price; empty for anywhere."""
    max_containers: int = 1
    """How many may run, and bill, at once."""
    timeout_s: int = 3600
    """How long one request may take, with all that it streams."""
    registry_secret: str = ""
    """Name of the Modal Secret with the credential for a private registry."""


def parse_options(said: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense."""
    section, default = Section("modal", said), Options()
    section.check_known(_KNOWN)
    return Options(
        endpoint=_endpoint(section),
        # The bounds of a container are those of the machines that GPUs come in; Modal itself refuses what is over them.
        cpu=section.number("cpu", 1, least=0.125, most=256) if "cpu" in said else None,
        memory_gib=section.number("memory_gib", 1, least=1, most=4096) if "memory_gib" in said else None,
        regions=_regions(section),
        max_containers=section.whole("max_containers", default.max_containers, least=1, most=_MOST_CONTAINERS),
        timeout_s=section.whole("timeout_s", default.timeout_s, least=1, most=_LONGEST_TIMEOUT_S),
        registry_secret=_registry_secret(section),
    )


def _endpoint(section: Section) -> Endpoint:
    value = section.said.get("endpoint", Endpoint.FUNCTION)
    if value not in list(Endpoint):
        raise section.refused("endpoint", f"give one of {', '.join(Endpoint)}")
    return Endpoint(str(value))


def _regions(section: Section) -> tuple[str, ...]:
    """One region may stand without a list around it, as in Modal's own SDK."""
    value = section.said.get("region", ())
    regions = (value,) if isinstance(value, str) else value
    words = regions if isinstance(regions, list | tuple) else [None]
    if not all(isinstance(word, str) and _REGION.fullmatch(word) for word in words):
        raise section.refused("region", "give a region of Modal's or a list of them, such as us or [us-east, eu-west]")
    return tuple(dict.fromkeys(words))


def _registry_secret(section: Section) -> str:
    if "registry_secret" not in section.said:
        return ""
    hint = "give the name of a Secret in Modal with REGISTRY_USERNAME and REGISTRY_PASSWORD"
    name = section.text("registry_secret", hint=hint)
    if not _SECRET.fullmatch(name):
        raise section.refused("registry_secret", hint)
    return name
