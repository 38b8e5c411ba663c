"""How far a host has come with an instance, by the instance alone: Docker's errors are in its `status_msg`.

A host that has failed does not recover (https://docs.vast.ai/api-reference, skypilot's and dstack's backends).
"""

from datetime import datetime

from gpu_providers.base import Boot, ResourceState
from gpu_providers.docker_errors import NO_PROGRAM, OLD_DRIVER, check, fatal, no_image
from gpu_providers.errors import CommandCrashed, HostFailed
from gpu_providers.values import Json, number, text
from gpu_providers.vast.instance_answers import DISK_GB, endpoint, is_silent, labels_of, state, usd_per_hour
from gpu_providers.vast.refusals import masked

_SPARE_GB = 1.0
"""By which a disk may read as smaller than it was asked for."""


_FATAL = (
    no_image("check the engine's version in the recipe"),
    fatal(r"nvidia\S* executable file not found", HostFailed, "this host has no NVIDIA container runtime"),
    NO_PROGRAM,
    OLD_DRIVER,
    fatal(r"no space left on device", HostFailed, "the disk of this host is full"),
    fatal(
        r"toomanyrequests|error pulling image|failed to pull|failed to register layer",
        HostFailed,
        "this host cannot pull the image",
    ),
    fatal(
        r"error response from daemon|OCI runtime create failed|nvidia-container-cli|error (?:creating|starting)",
        HostFailed,
        "this host cannot start the container",
    ),
)
"""The first row that matches counts: what no host could do comes before what this one cannot."""


def boot(instance: Json, now: datetime) -> Boot:
    """What to say of it. Raises HostFailed, CommandCrashed and InvalidRequest as the contract's `boot` does."""
    what, detail = state(instance, now)
    price_usd_per_hour = usd_per_hour(instance)
    check_disk(instance)
    if what is ResourceState.RUNNING:
        at = endpoint(instance)
        return Boot(running=True, detail="the container runs", endpoint=at, price_usd_per_hour=price_usd_per_hour)
    check_fatal(text(instance, "status_msg"))
    if what is ResourceState.BROKEN and has_ended_by_itself(instance):
        raise CommandCrashed(f"its command has ended: {detail}")
    if what is ResourceState.BROKEN or is_silent(instance):
        raise HostFailed(f"the instance came to its end on this host: {detail}")
    return Boot(running=False, detail=detail, price_usd_per_hour=price_usd_per_hour)


def has_ended_by_itself(instance: Json) -> bool:
    """Whether its container is gone although Vast.ai still means it to run."""
    return text(instance, "actual_status") == "exited" and text(instance, "intended_status") in ("", "running")


def check_fatal(message: str) -> None:
    """Raises HostFailed or InvalidRequest when the host has said what makes waiting vain."""
    check(_FATAL, message.splitlines(), shown=masked)


def check_disk(instance: Json) -> None:
    """Raises HostFailed for a disk that was cut: Vast.ai gives what there is, and does not refuse (skypilot#9892)."""
    asked_gb, given_gb = number(labels_of(instance).get(DISK_GB)), number(instance.get("disk_space"))
    if asked_gb and given_gb and given_gb < asked_gb - _SPARE_GB:
        raise HostFailed(f"this host gave {given_gb:.0f} GB of disk of the {asked_gb:.0f} GB asked for")
