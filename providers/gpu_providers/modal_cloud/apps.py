"""Modal's apps in our nouns, read from its control plane alone: any request to an endpoint would start a container.

An app that has ended, or is about to, is gone for us only when no container of it is left to bill.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_providers.base import RESOURCE_PREFIX, Resource, ResourceState
from gpu_providers.errors import Incomplete, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.in_parallel import at_once
from gpu_providers.modal_cloud.boot import Crashes
from gpu_providers.modal_cloud.containers import Container, containers
from gpu_providers.modal_cloud.lifecycle import ENDED, INITIALIZING, STOPPING, has_ended, looked_up, state_of
from gpu_providers.modal_cloud.rates import Rates
from gpu_providers.modal_cloud.refusals import TRY_LATER
from gpu_providers.modal_cloud.running_cost import usd_per_hour
from gpu_providers.modal_cloud.service import Service, service_of
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.tags import Facts, decoded

_UPGRADE = "upgrade Modal's client: pip install -U modal"

if TYPE_CHECKING:
    from modal import App, Client, Environment
    from modal.types import AppInfo


@dataclass(frozen=True)
class Apps:
    """The apps of one environment."""

    session: Session
    crashes: Crashes
    rates: Callable[[], Rates]

    def find(self, name: str) -> Resource | None:
        """The newest of this name, be it still on its way."""
        found = [self._existing(app_id) for app_id in self._ids(name.__eq__)]
        ours = [resource for resource in found if resource and _is_ours(resource)]
        return max(ours, key=lambda resource: resource.created_at, default=None)

    def all(self) -> Sequence[Resource]:
        """Ours, by their names and their tags, and no others. Raises Incomplete where Modal does not tell about one."""
        told = at_once(self._told, self._ids(lambda name: name.startswith(RESOURCE_PREFIX)))
        ours = [one for one in told if isinstance(one, Resource) and _is_ours(one)]
        if errors := [one for one in told if isinstance(one, ProviderError)]:
            raise Incomplete(f"one of Modal's apps: {errors[0].message}", hint=errors[0].hint, known=ours)
        return ours

    def describe(self, app_id: str) -> Resource:
        """Raises NotFound."""
        with self.session.call(f"describe {app_id}") as client:
            app = looked_up(client, app_id)
            info, found = app.info(refresh=True), containers(client, app_id)
            if (has_ended(info) and not found) or (state_of(info) == STOPPING and found == []):
                raise NotFound(f"Modal says that app {app_id} is {state_of(info)}")
            with _belonging_to(app_id):
                return self._resource(client, app, info, found)

    def stop(self, app_id: str) -> None:
        """For good. One that is gone already is success."""
        with suppress(NotFound), self.session.call(f"stop {app_id}") as client:
            app = looked_up(client, app_id)
            if not has_ended(app.info(refresh=True)):
                app.stop(client=client)

    def _ids(self, is_meant: Callable[[str], bool]) -> Sequence[str]:
        """Of what lives under such a name. One that is on its way has no name yet, but is described by it."""
        with self.session.call("list the apps") as client:
            try:
                listed = _environment(client, self.session.environment).apps.list()
            except KeyError as error:  # of its states the SDK knows all but those that are newer
                raise ProviderUnavailable(f"Modal lists an app in an unknown state: {error}", hint=_UPGRADE) from error
            return [str(app.app_id) for app in listed if is_meant(app.name or app.description or "")]

    def _told(self, app_id: str) -> Resource | ProviderError | None:
        """One that cannot be told of must not hide the others."""
        try:
            return self._existing(app_id)
        except ProviderError as error:
            return error

    def _existing(self, app_id: str) -> Resource | None:
        """None where it is gone by now."""
        with suppress(NotFound):
            return self.describe(app_id)
        return None

    def _resource(self, client: "Client", app: "App", info: "AppInfo", found: Sequence[Container] | None) -> Resource:
        tags, service = app.get_tags(client=client), service_of(client, info)
        facts, labels = Facts.of(tags), decoded(tags)
        counted = 1 if service.containers is None else service.containers
        state, detail = self._state(app, state_of(info), _in_words(found, service))
        return Resource(
            provider="modal",
            resource_id=info.app_id,
            name=info.description,
            state=state,
            endpoint=service.url,
            price_usd_per_hour=usd_per_hour(found, counted, facts, labels, self.rates),
            created_at=info.lifecycle.created_at,
            labels=labels,
            detail=detail,
            most_workers=service.most_containers or facts.most_containers,
            native_idle_s=service.idle_s,
            full_price_usd_per_hour=facts.price_usd_per_hour,
        )

    def _state(self, app: "App", said: str, running: str) -> tuple[ResourceState, str]:
        """With what people are told of it."""
        if said == INITIALIZING:
            return ResourceState.STARTING, "on its way"
        if said in (STOPPING, *ENDED):
            return ResourceState.BROKEN, f"{said}, {running}"
        if why := self.crashes.of(app):
            return ResourceState.BROKEN, why
        return ResourceState.RUNNING, running


@contextmanager
def _belonging_to(app_id: str) -> Iterator[None]:
    """That a part of an app is not there does not mean that the app is not."""
    import modal

    try:
        yield
    except modal.exception.NotFoundError as error:
        raise ProviderUnavailable(f"Modal has app {app_id}, but not all of it: {error}", hint=TRY_LATER) from error


def _environment(client: "Client", name: str) -> "Environment":
    import modal

    if name:
        return modal.Environment.from_name(name, client=client)
    return modal.Environment.from_context(client=client)


def _is_ours(resource: Resource) -> bool:
    """Somebody's app that is called gpu-something is not: `tags.OURS` is the name that ours were launched with."""
    return resource.name.startswith(RESOURCE_PREFIX) and "name" in resource.labels


def _in_words(found: Sequence[Container] | None, service: Service) -> str:
    """`1 container running, 2 containers pending, 5 requests`."""
    if found is not None:
        running = sum(container.runs for container in found)
        states = {"running": running, "pending": len(found) - running}
        said = [f"{_counted(count, 'container')} {state}" for state, count in states.items() if count]
    else:
        said = ["containers unknown" if service.containers is None else _counted(service.containers, "container")]
    requests = [_counted(service.requests, "request")] if service.requests else []
    return ", ".join([*(said or ["no containers"]), *requests])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
