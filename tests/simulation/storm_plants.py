"""Bugs that are planted for the proof that storms find them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from gpu_cli.fleet.end import teardown
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch import create, launch
from gpu_providers.base import LaunchRequest, Provider
from gpu_providers.errors import NotFound, ProviderError

_create, _has_ended = launch.create, teardown._has_ended
_COLUMNS = "SELECT * FROM deployments WHERE resource_name = ?"


def no_intent_row(patch: pytest.MonkeyPatch) -> None:
    """The deployment is on record only once its cloud has accepted it."""

    def created(fleet: Fleet, provider: Provider, request: LaunchRequest) -> Any:
        (row,) = fleet.store.rows(_COLUMNS, request.name)
        with fleet.store.transaction() as connection:
            connection.execute("DELETE FROM deployments WHERE resource_name = ?", (request.name,))
        made = None
        try:
            made = _create(fleet, provider, request)
        finally:
            _insert(fleet, row)
        return made

    patch.setattr(launch, "create", created)


def _insert(fleet: Fleet, row: Any) -> None:
    with fleet.store.transaction() as connection:
        marks = ", ".join("?" for _ in row.keys())  # noqa: SIM118 - iterating over a row gives its values
        connection.execute(f"INSERT INTO deployments VALUES ({marks})", tuple(row))


def errors_mean_gone(patch: pytest.MonkeyPatch) -> None:
    """A cloud that answers a request to end something with an error is taken to have done it."""

    def ended(provider: Provider, resource_id: str, *arguments: Any, **options: Any) -> bool:
        try:
            provider.terminate(resource_id)
        except NotFound:
            return True
        except ProviderError:
            return True
        return _has_ended(provider, resource_id, *arguments, **options)

    patch.setattr(teardown, "_has_ended", ended)


def no_look_for_the_name(patch: pytest.MonkeyPatch) -> None:
    """A create whose answer is lost is taken to have made nothing, and its record is dropped."""
    patch.setattr(create, "_look_for", lambda *_: None)
    patch.setattr(teardown, "destroy", _unless_it_has_an_id(teardown.destroy))


def _unless_it_has_an_id(destroy: Callable[..., None]) -> Callable[..., None]:
    def destroyed(fleet: Fleet, deployment: Any, **options: Any) -> None:
        with suppress(KeyError):
            deployment = fleet.store.get(deployment.resource_name)
        if deployment.resource_id:
            destroy(fleet, deployment, **options)

    return destroyed


@dataclass(frozen=True)
class Plant:
    """A bug, the problem that it is to be found by, and a seed that is likely to find it: that one is tried first."""

    bug: Callable[[pytest.MonkeyPatch], None]
    problem: str
    seed: int


PLANTS = (
    Plant(no_intent_row, "unknown", 3),
    Plant(errors_mean_gone, "wrong gone", 75),
    Plant(no_look_for_the_name, "wrong gone", 163),
)
