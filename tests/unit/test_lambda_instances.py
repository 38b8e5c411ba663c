"""What is made of Lambda's word for an instance, together with what this side knows of its machine."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gpu_providers.base import ResourceState
from gpu_providers.errors import ProviderUnavailable
from gpu_providers.lambda_cloud.instance_answers import is_ending, is_named, is_ours, resource, state
from gpu_providers.lambda_cloud.machines import Machine
from gpu_providers.lambda_cloud.tags import tags_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORDERED = datetime(2026, 11, 21, 11, tzinfo=UTC)
MACHINE = Machine("gpu-a", Path("/keys/id"), "ubuntu", 22, 1, "x86_64", address="192.0.2.7")
SET_UP = replace(MACHINE, service_url="http://127.0.0.1:8000")
STARTING, RUNNING, BROKEN = ResourceState.STARTING, ResourceState.RUNNING, ResourceState.BROKEN


def instance(**changes: Any) -> dict[str, Any]:
    """As the API tells it; with None left out."""
    fields = {
        "id": "0920582c7ff041399e34823a0be62549",
        "name": "gpu-a",
        "status": "active",
        "ip": "192.0.2.7",
        "region": {"name": "us-east-1", "description": "Virginia, USA"},
        "instance_type": {"name": "gpu_1x_h100_sxm5", "price_cents_per_hour": 429},
        "tags": tags_of({"recipe": "llama"}, ORDERED),
        "jupyter_token": "f00dfeed",
        "jupyter_url": "https://jupyter.example.com/?token=f00dfeed",
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def test_an_instance_is_a_resource_with_its_price_its_labels_and_its_time() -> None:
    found = resource(instance(), SET_UP, "", NOW)
    assert (found.provider, found.resource_id, found.name) == ("lambda", "0920582c7ff041399e34823a0be62549", "gpu-a")
    assert (found.price_usd_per_hour, found.region, found.endpoint) == (4.29, "us-east-1", "http://127.0.0.1:8000")
    assert (found.created_at, found.labels) == (ORDERED, {"recipe": "llama"})
    assert "f00dfeed" not in repr(found)


def test_what_lambda_leaves_out_leaves_the_rest() -> None:
    bare = instance(ip=None, region=None, instance_type=None, tags=None)
    found = resource(bare, None, "", NOW)
    assert (found.price_usd_per_hour, found.region, found.endpoint, found.labels) == (0.0, "", "", {})
    assert found.created_at == NOW


def test_an_instance_without_its_id_is_no_answer() -> None:
    with pytest.raises(ProviderUnavailable):
        resource(instance(id=None), SET_UP, "", NOW)


@pytest.mark.parametrize(
    ("status", "machine", "container_end", "expected"),
    [
        ("booting", MACHINE, "", (STARTING, "booting")),
        ("active", MACHINE, "", (STARTING, "being set up")),
        ("migrating", MACHINE, "", (STARTING, "being set up")),
        ("unhealthy", MACHINE, "", (BROKEN, "unhealthy before it was set up")),
        ("active", SET_UP, "", (RUNNING, "active")),
        ("booting", SET_UP, "", (RUNNING, "booting")),
        ("unhealthy", SET_UP, "", (RUNNING, "unhealthy")),
        ("active", SET_UP, "exited (3)", (BROKEN, "its container is exited (3)")),
        ("unhealthy", SET_UP, "missing", (BROKEN, "its container is missing")),
        ("booting", None, "", (STARTING, "booting")),
        ("active", None, "", (RUNNING, "active")),
    ],
)
def test_lambda_and_the_machine_together_tell_the_state(
    status: str, machine: Machine | None, container_end: str, expected: tuple[ResourceState, str]
) -> None:
    assert state(status, machine, container_end) == expected


@pytest.mark.parametrize(
    ("status", "ending"),
    [("terminating", True), ("terminated", True), ("preempted", True), ("unhealthy", False), ("new word", False)],
)
def test_only_lambdas_own_word_ends_an_instance(status: str, ending: bool) -> None:
    assert is_ending(instance(status=status)) is ending


def test_ours_has_our_prefix_and_our_tags() -> None:
    assert is_ours(instance())
    assert not is_ours(instance(tags=None))
    assert not is_ours(instance(tags=[{"key": "team", "value": "research"}]))
    assert not is_ours(instance(name="somebody"))
    with pytest.raises(ProviderUnavailable, match="without its name"):  # whose it is nobody can tell
        is_ours(instance(name=None))


def test_a_name_that_we_gave_is_known_again_although_the_tags_are_not_shown() -> None:
    assert is_named(instance(), "gpu-a")
    assert is_named(instance(tags=None), "gpu-a")
    assert not is_named(instance(tags=[{"key": "team", "value": "research"}]), "gpu-a")
    assert not is_named(instance(), "gpu-b")
    assert not is_named(instance(name="llama", tags=None), "llama")
