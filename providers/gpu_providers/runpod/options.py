"""The `runpod` section of a recipe."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_providers.base import Volume
from gpu_providers.errors import InvalidRequest
from gpu_providers.runpod.names import COMMUNITY, SECURE
from gpu_providers.section import Section

_CLOUDS = {
    "secure": (SECURE,),
    "community": (COMMUNITY,),
    "any": (SECURE, COMMUNITY),
}
_KNOWN = ("cloud", "regions", "registry", "disk_gb", "workers_min", "workers_max", "flashboot", "timeout")
_REGION = re.compile(r"[A-Z]+(-[A-Z0-9]+)+")
_SMALLEST_DISK_GB = 20
"""With less RunPod finds no machine, as a user saw (comfyui-mcp#2014); the image alone takes more."""


@dataclass(frozen=True)
class Options:
    """What a recipe may say about RunPod; the defaults are what it gets that says nothing."""

    clouds: tuple[str, ...] = _CLOUDS["secure"]
    """Machines of the community cloud are somebody's: a recipe has to ask for them."""
    regions: tuple[str, ...] = ()
    """Ids of data centers, `EU-RO-1`; empty for anywhere."""
    registry: str = ""
    """Id of the account's credential for a private registry."""
    disk_gb: int | None = None
    """The container's disk, instead of what the launch asks for."""
    workers_min: int = 0
    workers_max: int = 1
    flashboot: bool = True
    timeout_s: int = 600
    """How long one request to a serverless endpoint may take."""


def parse_options(options: Mapping[str, object]) -> Options:
    """Raises InvalidRequest for a key that is not known and for a value that makes no sense."""
    section, default = Section("runpod", options), Options()
    section.check_known(_KNOWN)
    workers_min = section.whole("workers_min", default.workers_min, least=0)
    workers_max = max(default.workers_max, workers_min)
    return Options(
        clouds=_clouds(section),
        regions=section.codes("regions", _REGION, hint="give a list of data center ids, such as [EU-RO-1, US-KS-2]"),
        registry=section.text("registry", hint="give the id of a credential, as RunPod's console shows it"),
        disk_gb=section.whole("disk_gb", 0, least=1) if "disk_gb" in options else None,
        workers_min=workers_min,
        workers_max=section.whole("workers_max", workers_max, least=max(1, workers_min)),
        flashboot=section.flag("flashboot", default.flashboot),
        timeout_s=section.whole("timeout", default.timeout_s, least=1),
    )


def clouds_of(options: Options, volume: Volume | None) -> Sequence[str]:
    """Network volumes exist in the secure cloud only (docs.runpod.io, storage/network-volumes)."""
    if not volume:
        return options.clouds
    if SECURE not in options.clouds:
        raise InvalidRequest(
            f"the volume {volume.name} cannot be attached in RunPod's community cloud",
            hint="set cloud: secure in the recipe, or leave its cache for runpod out",
        )
    return (SECURE,)


def regions_of(options: Options, volume: Volume | None) -> Sequence[str]:
    """The only data centers that will do; empty for any. A volume can be attached only where it is."""
    if not volume:
        return options.regions
    if options.regions and volume.region not in options.regions:
        raise InvalidRequest(
            f"the volume {volume.name} is in {volume.region}, which the recipe's regions leave out",
            hint="leave `regions` out: a volume decides where its pod is",
        )
    return (volume.region,)


def disk_gb(options: Options, disk_gib: int) -> int:
    """The container's disk as RunPod counts it, for a need in GiB."""
    return options.disk_gb or max(_SMALLEST_DISK_GB, math.ceil(disk_gib * 2**30 / 10**9))


def _clouds(section: Section) -> tuple[str, ...]:
    value = section.said.get("cloud", "secure")
    if not isinstance(value, str) or value not in _CLOUDS:
        raise section.refused("cloud", f"give one of {', '.join(_CLOUDS)}")
    return _CLOUDS[value]
