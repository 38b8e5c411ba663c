"""How far a pod's host has come, by the pod itself and by the lines of its host's log.

What the host writes was recorded by users: Docker's own words for the image, `create container`, `start container`.
RunPod starts a container again whenever its command ends, for ever, and bills on (runpodctl#149, dstack#1142).
"""

import re
from collections.abc import Sequence

from gpu_providers.base import Boot, ResourceState
from gpu_providers.docker_errors import NO_PROGRAM, OLD_DRIVER, check, fatal, no_image
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest
from gpu_providers.runpod import pod_answers
from gpu_providers.values import Json

FRESH_S = 120.0
"""A container that runs for longer than this is past its start: its host's log need not be read."""

CRASH_LOOP = "crash loop"

_START = re.compile(r"\bstart container\b.*\bbegin\b", re.IGNORECASE)
_TAKEN_DOWN = re.compile(r"\b(?:stop|remove) container\b", re.IGNORECASE)
_LAYER = re.compile(
    r"\b(?P<layer>[0-9a-f]{6,64})\b\W+"
    r"(?P<step>Pulling fs layer|Waiting|Downloading|Verifying Checksum|Download complete|Extracting|"
    r"Pull complete|Already exists)(?P<rest>.*)"
)
_PULLED = re.compile(r"Status: (?:Image is up to date|Downloaded newer image)")
_DONE = ("Pull complete", "Already exists")
_AMOUNT = re.compile(r"[\d.]+ ?[kMG]?i?B ?/ ?[\d.]+ ?[kMG]?i?B")


_FATAL = (
    fatal(
        r"no space left on device",
        InvalidRequest,
        "the image does not fit on the pod's disk",
        "give it more: disk_gb in the recipe's section of runpod",
    ),
    no_image("check the engine's version in the recipe; a private registry needs the option `registry`"),
    NO_PROGRAM,
    OLD_DRIVER,
    # dstack#1976: layers that a host does not find; dstack#2729: user ids that it cannot map. Other hosts pull both.
    fatal(
        r"failed to pull image|failed to get hub registry auth|layer does not exist"
        r"|cannot be mapped to a host id|lchown",
        HostFailed,
        "this host cannot pull the image",
    ),
    fatal(r"error creating container|error starting container", HostFailed, "this host cannot start the container"),
)
"""The first row that any line matches counts: what no host could do comes before what this one cannot."""


def boot(pod: Json, log: Sequence[str]) -> Boot:
    """What to say of a pod, given its host's log.

    Raises HostFailed, CommandCrashed and InvalidRequest as the contract's `boot` does.
    """
    state, detail = pod_answers.state(pod)
    if state is ResourceState.BROKEN:
        raise HostFailed(f"the pod came to its end on this host: {detail}")
    if state is not ResourceState.RUNNING:
        check_fatal(log)
    if (count := starts(log)) > 1:
        raise CommandCrashed(f"{CRASH_LOOP}: its command has ended, and was started {count} times so far")
    price_usd_per_hour = pod_answers.usd_per_hour(pod) or None
    if state is ResourceState.RUNNING:
        up_s = pod_answers.uptime_s(pod)
        return Boot(running=True, detail="the container runs", uptime_s=up_s, price_usd_per_hour=price_usd_per_hour)
    waits = progress(log) or f"waiting for the host ({detail})"
    return Boot(running=False, detail=waits, price_usd_per_hour=price_usd_per_hour)


def is_fresh(pod: Json) -> bool:
    """Whether its host's log can still say something: its container was not, or has only just been, started."""
    uptime_s = pod_answers.uptime_s(pod)
    return uptime_s is None or uptime_s < FRESH_S


def starts(log: Sequence[str]) -> int:
    """How often the host has started the container; more than once is a crash loop."""
    return sum(1 for line in log if _START.search(line))


def check_fatal(log: Sequence[str]) -> None:
    """Raises HostFailed or InvalidRequest when the host has said what makes waiting vain.

    A failure that came before the image was pulled all the same does not count.
    """
    pulled = max((number for number, line in enumerate(log) if _PULLED.search(line)), default=0)
    check(_FATAL, log[pulled:])


def progress(log: Sequence[str]) -> str:
    """What the host does, by its last words; empty when it has not said any."""
    if log and _TAKEN_DOWN.search(log[-1]):
        return "the host takes the container down"
    if starts(log):
        return "starting the container"
    if any(_PULLED.search(line) for line in log):
        return "the image is pulled"
    if steps := [found for line in log if (found := _LAYER.search(line))]:
        return _pulling(steps)
    return "pulling the image" if any("create container" in line.lower() for line in log) else ""


def _pulling(steps: Sequence[re.Match[str]]) -> str:
    latest = {found["layer"]: found for found in steps}
    done = sum(1 for found in latest.values() if found["step"] in _DONE)
    amount = _AMOUNT.search(steps[-1]["rest"])
    tail = f", {steps[-1]['step'].lower()} {amount[0]}" if amount else ""
    return f"pulling the image: {done} of {len(latest)} layers{tail}"
