"""All of ours that runs at the clouds, by their own word: they are asked at once, and who does not answer is named."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.ask_all import ask_all
from gpu_providers import registry
from gpu_providers.base import RESOURCE_PREFIX, Provider, Resource
from gpu_providers.errors import Incomplete, NoCredentials, ProviderError


@dataclass(frozen=True)
class Inventory:
    """What was told, and by whom not."""

    resources: tuple[Resource, ...]
    unreached: Mapping[str, str]
    """Why, by provider: some of what it has may be missing."""
    kept: Mapping[str, Collection[str]]
    """By provider, the names of the resources for which it keeps something (`Provider.kept`)."""

    def the_one(self, name: str) -> Resource | None:
        """That with this resource name, or of a deployment of this name; None where everybody says that there is none.

        Raises UserError: CLEANUP_UNCONFIRMED when it may be where nobody answered, BAD_INPUT when there are several.
        """
        found = [resource for resource in self.resources if is_called(resource, name)]
        if len(found) > 1:
            names = ", ".join(f"{resource.name} ({resource.provider})" for resource in found)
            hint = "say which one, by its name at the cloud"
            raise UserError(Exit.BAD_INPUT, "which-one", f"several are called {name}: {names}", hint=hint)
        if not found and self.unreached:
            message = f"{name} may exist: not all clouds could be asked ({self.unreached_in_words()})"
            raise UserError(Exit.CLEANUP_UNCONFIRMED, "not-reached", message, hint="try again", still_billing=[name])
        return found[0] if found else None

    def unreached_in_words(self) -> str:
        """For people: who did not answer, and why."""
        return "; ".join(f"{name}: {why}" for name, why in self.unreached.items())


@dataclass(frozen=True)
class _Told:
    """By one cloud. With a problem it may not be all."""

    resources: Sequence[Resource]
    kept: Collection[str] = ()
    problem: str = ""


def take_inventory(fleet: Fleet) -> Inventory:
    """Everything of ours, at every cloud."""
    return _asked(fleet, _everything)


def take_inventory_of(fleet: Fleet, name: str) -> Inventory:
    """Only what has this resource name, or belongs to a deployment of this name."""
    return _asked(fleet, lambda provider: _named(provider, name))


def is_called(resource: Resource, name: str) -> bool:
    """Whether it is meant by that: it has two names, that at the cloud and that of its deployment."""
    return name in (resource.name, resource.labels.get("name"))


def _asked(fleet: Fleet, ask: Callable[[Provider], _Told]) -> Inventory:
    answers = ask_all(fleet, registry.available(), lambda provider: _as_far_as_told(provider, ask))
    used = {row["provider"] for row in fleet.store.rows("SELECT DISTINCT provider FROM deployments")}
    unreached: dict[str, str] = {}
    told: dict[str, _Told] = {}
    for name, answer in answers.items():
        if isinstance(answer, _Told):
            told[name] = answer
        # Without credentials a cloud cannot be looked at; that matters only for one that something was launched on.
        elif name in used or not isinstance(answer, NoCredentials):
            unreached[name] = answer.message
    unreached |= {name: one.problem for name, one in told.items() if one.problem}
    resources = tuple(resource for one in told.values() for resource in one.resources)
    return Inventory(resources, unreached, {name: one.kept for name, one in told.items()})


def _as_far_as_told(provider: Provider, ask: Callable[[Provider], _Told]) -> _Told:
    try:
        return ask(provider)
    except Incomplete as error:
        return _Told(error.known, problem=error.message)


def _everything(provider: Provider) -> _Told:
    resources = provider.list_resources()
    try:
        return _Told(resources, provider.kept())
    except ProviderError as error:
        return _Told(resources, problem=error.message)


def _named(provider: Provider, name: str) -> _Told:
    """By its name at the cloud that finds more than its lists show, where it hides whose something is."""
    if name.startswith(RESOURCE_PREFIX) and (found := provider.find(name)):
        return _Told([found])
    try:
        return _Told([one for one in provider.list_resources() if is_called(one, name)])
    except Incomplete as error:
        return _Told([one for one in error.known if is_called(one, name)], problem=error.message)
