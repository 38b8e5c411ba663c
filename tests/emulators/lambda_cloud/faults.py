"""What is wrong with a machine, decided when it is launched."""

from collections.abc import Callable
from dataclasses import dataclass

from ..misbehaviour import Rule

CUDA_IS_BROKEN = 802
"""cudaErrorSystemNotReady, seen on most of the H100 SXM5 that were launched one day in 2026-08."""
DRIVER, OLD_DRIVER = "580.105.08", "570.148.08"
"""Both were seen in 2026; which one a machine has does not follow from its image."""


@dataclass(frozen=True)
class Faults:
    """Of one machine; nothing, by default."""

    auth_late_s: float = 0.0
    """Its SSH server lets nobody in for so long."""
    plants_no_host_key: bool = False
    """What the user data say of host keys counts for nothing."""
    driver: str = DRIVER
    cu_init: int = 0
    """What `cuInit` returns."""
    without_gpus_in_docker: bool = False
    """Until NVIDIA's runtime is configured and Docker restarted."""
    missing_image: str | None = None
    """No image with this in its name can be pulled."""
    crash_after_s: float | None = None
    """What runs in its containers ends so soon."""


def faults(rule: Callable[[str], Rule | None], auth_late_s: float, crash_after_s: float | None) -> Faults:
    """By the rules that apply to a launch; `rule` takes one by its word."""
    late, broken, old, missing = (rule(word) for word in ("auth-late", "broken-gpu", "old-driver", "no-image"))
    return Faults(
        auth_late_s=late.seconds if late else auth_late_s,
        plants_no_host_key=rule("plants-no-host-key") is not None,
        driver=(old.text or OLD_DRIVER) if old else DRIVER,
        cu_init=(broken.status or CUDA_IS_BROKEN) if broken else 0,
        without_gpus_in_docker=rule("docker-broken") is not None,
        missing_image=missing.text if missing else None,
        crash_after_s=crash_after_s,
    )
