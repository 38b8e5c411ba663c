"""All that lives, as later commands find it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from fleets import NOW, Cloud, FakeClock, deployment, make_fleet

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import State
from gpu_cli.fleet.end import settle as settling
from gpu_cli.fleet.end.settle import see_all, settle
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.ask_all import ask_all
from gpu_providers.base import Resource
from gpu_providers.errors import NoCredentials, ProviderError, ProviderUnavailable


class Slow(Cloud):
    """It takes its time for every description, or hangs until `goes_on`."""

    def __init__(self, takes_s: float | None) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.goes_on = Event()

    def describe(self, resource_id: str) -> Resource:
        self.goes_on.wait(self.takes_s)
        return super().describe(resource_id)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clouds() -> dict[str, Slow]:
    return {name: Slow(0.2) for name in ("one", "two", "three", "four")}


@pytest.fixture
def fleet(
    tmp_path: Path, clouds: dict[str, Slow], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    """Two deployments at each of four clouds."""
    monkeypatch.setattr(settling, "ensure_guard", lambda _: None)
    fleet = make_fleet(tmp_path, clock=clock)
    fleet._loaded.update(clouds)
    for name, cloud in clouds.items():
        for number in range(2):
            resource_name = f"gpu-{name}-{number}"
            made = deployment(f"{name}{number}", resource_name=resource_name, resource_id=f"id-{resource_name}")
            fleet.store.add(replace(made, provider=name))
            cloud.add(resource_name)
    yield fleet
    for cloud in clouds.values():
        cloud.goes_on.set()
    fleet.store.close()


def test_all_are_looked_at_together(fleet: Fleet) -> None:
    began = time.monotonic()
    seen = see_all(fleet)
    assert [one.deployment.name for one in seen] == [one.name for one in fleet.store.live()]
    assert all(one.resource and not one.problem for one in seen)
    assert time.monotonic() - began < 8 * 0.2


def test_what_a_silent_cloud_has_is_shown_as_it_is_on_record_and_says_so(
    fleet: Fleet, clouds: dict[str, Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LAST_ONE_S", 0.2)
    clouds["two"].takes_s = None
    clouds["three"].trouble = ProviderUnavailable("502")
    problems = {one.deployment.name: one.problem for one in settle(fleet)}
    assert {name: problem for name, problem in problems.items() if problem} == {
        "two0": "two does not answer",
        "two1": "two does not answer",
        "three0": "502",
        "three1": "502",
    }


def test_what_is_overdue_at_a_silent_cloud_is_known_without_it(
    fleet: Fleet, clouds: dict[str, Slow], clock: FakeClock
) -> None:
    clouds["one"].takes_s = None
    clock.time = NOW + 3600
    assert {one.due for one in see_all(fleet, patience_s=0.5)} == {"deadline"}


def test_what_cannot_be_ended_keeps_nothing_else_from_being_ended(
    fleet: Fleet, clouds: dict[str, Slow], clock: FakeClock
) -> None:
    for cloud in clouds.values():
        cloud.takes_s = 0.0
    clouds["one"].terminates = False
    clock.time = NOW + 3600
    with pytest.raises(UserError, match="not confirmed gone"):
        settle(fleet)
    assert {one.provider for one in fleet.store.live()} == {"one"}
    assert {one.state for one in fleet.store.live()} == {State.TERMINATING}


def test_each_cloud_that_is_asked_has_an_answer_or_a_reason(fleet: Fleet, clouds: dict[str, Slow]) -> None:
    """Also one that is not installed, and one that has a bug."""

    def ask(provider: Cloud) -> int:
        if provider is clouds["two"]:
            raise NoCredentials("no key")
        if provider is clouds["three"]:
            raise ZeroDivisionError("a bug")
        return len(provider.list_resources())

    told = ask_all(fleet, ["one", "two", "three", "no-such"], ask)
    assert told["one"] == 2
    assert isinstance(told["two"], NoCredentials)
    assert "three failed when it was asked: ZeroDivisionError: a bug" in str(told["three"])
    assert isinstance(told["no-such"], ProviderError)
