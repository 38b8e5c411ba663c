"""A fleet for tests of single parts: a real store on disk, a cloud in memory, and time that only sleeping moves."""

# ruff: noqa: ARG002 - the contract gives a provider more than this one needs

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.store import Store
from gpu_cli.paths import Paths
from gpu_providers.base import (
    Boot,
    Check,
    Kind,
    LaunchRequest,
    Offer,
    Provider,
    ProviderContext,
    Resource,
    ResourceState,
    Search,
)
from gpu_providers.errors import CreateUnknown, NotFound, ProviderError

NOW = 1_800_000_000.0


class FakeClock(Clock):
    """Sleeping is what makes time pass."""

    def __init__(self) -> None:
        self.time = NOW
        self.on_sleep: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.on_sleep()


class Cloud(Provider):
    """Resources in memory, by name. `trouble` is raised by every call as long as it is set."""

    name = "cloud"
    poll_interval_s = 1.0

    def __init__(self) -> None:
        super().__init__(ProviderContext(Path("/nowhere"), {}))
        self.resources: dict[str, Resource] = {}
        self.logged: list[str] = []
        self.trouble: ProviderError | None = None
        self.terminates = True
        self.terminated: list[str] = []
        self.credentials = ""
        self.launches: list[ProviderError | str] = []
        """How the next launches go: an error, or what else is done with a text (see `launch`)."""
        self.launched: list[str] = []
        self.boots: list[Boot | ProviderError] = []
        """What `boot` says, look by look; the last one for ever."""

    def add(self, name: str, /, state: ResourceState = ResourceState.RUNNING, **labels: str) -> Resource:
        resource = Resource("cloud", f"id-{name}", name, state, "http://cloud", 2.0, datetime.now(UTC), labels, "")
        self.resources[name] = resource
        return resource

    def account(self) -> str:
        return self.credentials

    def offers(self, search: Search) -> Sequence[Offer]:
        return []

    def why_no_offers(self, search: Search) -> str:
        return ""

    def launch(self, request: LaunchRequest) -> Resource:
        """A text for an outcome makes the resource and loses the answer: `CreateUnknown` with that text."""
        self._answer()
        self.launched.append(request.name)
        outcome = self.launches.pop(0) if self.launches else None
        if isinstance(outcome, ProviderError):
            raise outcome
        resource = self.add(request.name)
        if outcome is not None:
            raise CreateUnknown(outcome)
        return resource

    def boot(self, resource_id: str) -> Boot:
        self._answer()
        if not self.boots:
            return super().boot(resource_id)
        said = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        if isinstance(said, ProviderError):
            raise said
        return said

    def find(self, name: str) -> Resource | None:
        self._answer()
        return self.resources.get(name)

    def describe(self, resource_id: str) -> Resource:
        self._answer()
        found = [resource for resource in self.resources.values() if resource.resource_id == resource_id]
        if not found:
            raise NotFound(resource_id)
        return found[0]

    def terminate(self, resource_id: str) -> None:
        self._answer()
        self.terminated.append(resource_id)
        if self.terminates:
            self.resources = {name: one for name, one in self.resources.items() if one.resource_id != resource_id}

    def list_resources(self) -> Sequence[Resource]:
        self._answer()
        return list(self.resources.values())

    def logs(
        self,
        resource_id: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        self._answer()
        return iter(self.logged)

    def check(self) -> Sequence[Check]:
        return []

    def _answer(self) -> None:
        if self.trouble:
            raise self.trouble


class Shy(Cloud):
    """It shows what was made only `list_lag_s` later; until then a request to end it does nothing."""

    list_lag_s = 60.0

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.shows_from: dict[str, float] = {}

    def add(self, name: str, /, state: ResourceState = ResourceState.RUNNING, **labels: str) -> Resource:
        self.shows_from[name] = self.clock.now() + self.list_lag_s - 1
        return super().add(name, state, **labels)

    def find(self, name: str) -> Resource | None:
        return super().find(name) if self._shows(name) else None

    def describe(self, resource_id: str) -> Resource:
        resource = super().describe(resource_id)
        if not self._shows(resource.name):
            raise NotFound(resource_id)
        return resource

    def terminate(self, resource_id: str) -> None:
        if any(one.resource_id == resource_id and self._shows(one.name) for one in self.resources.values()):
            super().terminate(resource_id)

    def _shows(self, name: str) -> bool:
        return self.clock.now() >= self.shows_from.get(name, 0.0)


def make_fleet(home: Path, cloud: Provider | None = None, clock: Clock | None = None) -> Fleet:
    """Close its store, or let the test end."""
    paths = Paths(home / "config", home / "state", home / "cache")
    store = Store(paths.state / "gpu.db").open()
    return Fleet(paths, {}, store, clock or FakeClock(), {"cloud": cloud or Cloud()})


def deployment(name: str = "tiny", state: State = State.READY, **changes: object) -> Deployment:
    """One at 2 USD an hour that was launched at NOW, with an hour to live and ten minutes of idleness."""
    made = Deployment(
        resource_name=f"gpu-{name}-1",
        name=name,
        recipe=name,
        recipe_digest="digest",
        state=state,
        provider="cloud",
        kind=Kind.POD,
        gpu="H100",
        gpu_count=1,
        region="here",
        model=name,
        price_usd_per_hour=2.0,
        idle_s=600.0,
        deadline_at=NOW + 3600,
        start_deadline_at=NOW + 1800,
        budget_usd=None,
        created_at=NOW,
        resource_id=f"id-gpu-{name}-1",
        endpoint="http://cloud",
        launched_at=NOW,
        ready_at=NOW,
        active_at=NOW,
        tied=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the caller names fields
