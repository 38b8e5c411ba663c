"""What Lambda says of an instance, with what this side knows of its machine, in our nouns.

Fields as in Lambda's OpenAPI document (1.10.0): `name`, `ip`, `tags` and others may be missing, or null, for a while.
"""

from datetime import UTC, datetime

from gpu_providers.base import RESOURCE_PREFIX, Resource, ResourceState
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.lambda_cloud.machines import Machine
from gpu_providers.lambda_cloud.tags import is_marked, labels_of, ordered_at
from gpu_providers.values import Json, amount, id_of, mark, part, parts, text

BOOTING, UNHEALTHY = "booting", "unhealthy"
_ENDING = ("terminating", "terminated", "preempted")
_START_OF_TIME = datetime.min.replace(tzinfo=UTC)


def resource(instance: Json, machine: Machine | None, container_end: str, now: datetime) -> Resource:
    """What is to be said of it. `machine` is None for one that this side knows nothing of.

    `container_end` is how its container has ended, by the machine's own word; empty where there is none.
    Raises ProviderUnavailable when its id is missing.
    """
    what, detail = state(text(instance, "status"), machine, container_end)
    return Resource(
        provider="lambda",
        resource_id=id_of(instance),
        name=text(instance, "name"),
        state=what,
        endpoint=machine.endpoint if machine else "",
        price_usd_per_hour=usd_per_hour(instance),
        created_at=ordered_at(instance) or now,
        labels=labels_of(instance),
        detail=detail,
        region=text(part(instance, "region"), "name"),
        full_price_usd_per_hour=_full_usd_per_hour(instance),
    )


def usd_per_hour(instance: Json) -> float:
    """What it costs at this moment: nothing before it has passed Lambda's health check (docs.lambda.ai, billing). One
    that has failed it is said to be billed.
    """
    return 0.0 if text(instance, "status") == BOOTING else _full_usd_per_hour(instance)


def _full_usd_per_hour(instance: Json) -> float:
    return (amount(part(instance, "instance_type").get("price_cents_per_hour")) or 0.0) / 100


def state(status: str, machine: Machine | None, container_end: str) -> tuple[ResourceState, str]:
    """Its state, with what people are told of it.

    What Lambda calls unhealthy once the engine runs may serve all the same: the engine's own health decides.
    """
    if machine is None:
        return ResourceState.STARTING if status == BOOTING else ResourceState.RUNNING, status
    if not machine.service_url:
        return _not_set_up(status)
    if container_end:
        return ResourceState.BROKEN, f"its container is {container_end}"
    return ResourceState.RUNNING, status


def is_ending(instance: Json) -> bool:
    """Whether it is gone, or as good as gone."""
    return text(instance, "status") in _ENDING


def is_ours(instance: Json) -> bool:
    """Somebody's instance that is called gpu-something is not."""
    return _has_our_prefix(instance) and is_marked(instance)


def is_named(instance: Json, name: str) -> bool:
    """Whether it is ours and of this name; where Lambda shows no tags at all, the name alone decides.

    A name that we gave was given once: not to know it again would leave the instance running.
    """
    marked = is_marked(instance) or not parts(instance, "tags")
    return _name(instance) == name and _has_our_prefix(instance) and marked


def age_order(instance: Json) -> datetime:
    """By which the newest is the greatest."""
    return ordered_at(instance) or _START_OF_TIME


def _has_our_prefix(instance: Json) -> bool:
    return _name(instance).startswith(RESOURCE_PREFIX)


def _name(instance: Json) -> str:
    """Empty for one without. Raises ProviderUnavailable for one of ours that is shown without its name."""
    name: str = mark(instance, "name", str) or ""
    if not name and is_marked(instance):
        raise ProviderUnavailable("Lambda shows an instance of ours without its name", hint="try again later")
    return name


def _not_set_up(status: str) -> tuple[ResourceState, str]:
    if status == UNHEALTHY:
        return ResourceState.BROKEN, "unhealthy before it was set up"
    return ResourceState.STARTING, status if status == BOOTING else "being set up"
