"""What RunPod says of a pod, in our nouns."""

import re
from datetime import UTC, datetime

from gpu_providers.base import Resource, ResourceState
from gpu_providers.errors import NotFound
from gpu_providers.runpod import marks
from gpu_providers.runpod.urls import Urls
from gpu_providers.values import Json, amount, id_of, moment, part, text

_HTTP_PORT = re.compile(r"\b(\d+)/http\b")
_RUNNING = (ResourceState.RUNNING, "RUNNING")
_PROMISED = (ResourceState.STARTING, "RUNNING, but its container has not started")
_STOPPED = "EXITED"
_STATES = {_STOPPED: ResourceState.BROKEN, "ERROR": ResourceState.BROKEN}


def resource(pod: Json, urls: Urls) -> Resource:
    """What RunPod says of a pod, now. Raises NotFound as `check_exists`, ProviderUnavailable as `id_of`."""
    check_exists(pod)
    what, detail = state(pod)
    return Resource(
        provider="runpod",
        resource_id=id_of(pod),
        name=text(pod, "name"),
        state=what,
        endpoint=_endpoint(pod, urls),
        price_usd_per_hour=usd_per_hour(pod),
        created_at=created_at(pod),
        labels=marks.labels(pod),
        detail=detail,
        region=text(pod, "dataCenterId"),
        full_price_usd_per_hour=_full_usd_per_hour(pod),
    )


def usd_per_hour(pod: Json) -> float:
    """What it costs at this moment: all of it from its order on, and nothing while it is stopped, as it has no
    persistent disk (docs.runpod.io, pods/pricing). Its `cost` then stays as it was (seen live in August 2026).
    """
    return 0.0 if text(pod, "status") == _STOPPED else _full_usd_per_hour(pod)


def is_gone(pod: Json) -> bool:
    """Deleted for good; one that is only stopped is not."""
    return text(pod, "status") == "TERMINATED"


def check_exists(pod: Json) -> None:
    """Raises NotFound for one that is gone and only remembered."""
    if is_gone(pod):
        raise NotFound(f"RunPod says that the pod {text(pod, 'id')} is terminated")


def created_at(pod: Json) -> datetime:
    """When it was made, or started; now, when RunPod does not say."""
    return moment(pod.get("createdAt")) or moment(pod.get("startedAt")) or datetime.now(UTC)


def state(pod: Json) -> tuple[ResourceState, str]:
    """Its state and RunPod's word for that.

    RUNNING is said while the image is still being pulled; the container has started once there is a `runtime`
    (seen live in August 2026, against docs.runpod.io). A status that nobody knows yet is no reason to give up.
    """
    word = text(pod, "status") or "no status"
    if word == "RUNNING":
        return _RUNNING if part(pod, "runtime") else _PROMISED
    return _STATES.get(word, ResourceState.STARTING), word


def _full_usd_per_hour(pod: Json) -> float:
    """RunPod charges `cost`, whatever was asked; it says 0, or nothing, before it knows."""
    return amount(pod.get("cost")) or marks.asked_price_usd_per_hour(pod)


def uptime_s(pod: Json) -> float | None:
    """Since its container was last started."""
    return amount(part(pod, "runtime").get("uptime"))


def _endpoint(pod: Json, urls: Urls) -> str:
    """The first HTTP port, through RunPod's proxy."""
    found = _HTTP_PORT.search(str(pod.get("ports")))
    return urls.of_pod(text(pod, "id"), int(found[1])) if found else ""
