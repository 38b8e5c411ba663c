"""What can be rented: all providers asked at once, and a dated price snapshot for the clouds that cannot be asked."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.recipe.schema import Recipe
from gpu_providers import registry
from gpu_providers.base import Offer, Search
from gpu_providers.errors import AuthError, InvalidRequest, ProviderError, ProviderUnavailable
from gpu_providers.price_snapshot import snapshot_offers


@dataclass(frozen=True)
class Answer:
    """What one provider sells now, or why it does not say."""

    offers: tuple[Offer, ...] = ()
    seconds: float = 0.0
    """How long it took to answer."""
    problem: str = ""
    """One line: what failed, or why there is nothing to offer."""
    hint: str = ""
    failed: bool = False
    no_credentials: bool = False
    from_snapshot: bool = False
    """The offers are those of the price snapshot: they show what it would cost, and cannot be launched."""

    @property
    def ok(self) -> bool:
        """It was asked and it answered."""
        return not self.failed

    @property
    def prices_as_of(self) -> datetime | None:
        """The age of its oldest price."""
        return min((offer.prices_as_of for offer in self.offers), default=None)


@dataclass(frozen=True)
class Market:
    """Everything that can be rented now, by provider."""

    answers: Mapping[str, Answer] = field(default_factory=dict)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Of all providers."""
        return tuple(offer for answer in self.answers.values() for offer in answer.offers)

    def of(self, provider: str | None) -> "Market":
        """What this provider sells; all of it for None. Raises UserError for one that is not here."""
        if provider is not None and provider not in self.answers:
            raise _unknown(provider, self.answers)
        return Market({name: answer for name, answer in self.answers.items() if provider in (None, name)})

    @property
    def snapshot_providers(self) -> tuple[str, ...]:
        """Those whose prices are the snapshot's."""
        return tuple(name for name, answer in self.answers.items() if answer.from_snapshot)


def ask(fleet: Fleet, recipe: Recipe, *, only: str | None) -> Market:
    """The offers of every provider, or of one. Raises UserError for one that is not installed, or bad options."""
    if only is not None and only not in registry.available():
        raise _unknown(only, registry.available())
    names = [only] if only is not None else list(registry.available())
    return Market(_ask_all(fleet, recipe, names))


def ask_or_look_up(fleet: Fleet, recipe: Recipe, *, only: str | None) -> Market:
    """As `ask`, with the snapshot's offers for each cloud that is not installed or has no credentials.

    For a plan that is to be read, not launched. Raises as `ask`.
    """
    snapshot = _snapshot_by_provider()
    if only is not None and only not in registry.available() and only not in snapshot:
        raise _unknown(only, [*registry.available(), *snapshot])
    wanted = [only] if only is not None else sorted({*registry.available(), *snapshot})
    answers = dict(_ask_all(fleet, recipe, [name for name in wanted if name in registry.available()]))
    for name in wanted:
        answer = answers.get(name, Answer(failed=True, problem="it cannot be asked yet"))
        if name in snapshot and (name not in answers or answer.no_credentials):
            answer = replace(answer, offers=snapshot[name], from_snapshot=True)
        answers[name] = answer
    return Market({name: answers[name] for name in wanted})


def _ask_all(fleet: Fleet, recipe: Recipe, names: Sequence[str]) -> Mapping[str, Answer]:
    if not names:
        return {}
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        return dict(zip(names, pool.map(lambda name: _ask_one(fleet, recipe, name), names), strict=True))


def _ask_one(fleet: Fleet, recipe: Recipe, name: str) -> Answer:
    """Raises UserError for options that the provider refuses: another provider would not mend the recipe."""
    search = Search(recipe.providers.get(name, {}))
    began = time.monotonic()
    try:
        provider = fleet.provider(name)
        offers = tuple(provider.offers(search))
        why = "" if offers else provider.why_no_offers(search)
        return Answer(offers, time.monotonic() - began, why)
    except InvalidRequest as error:
        raise UserError(Exit.BAD_INPUT, "bad-recipe", f"providers: {name}: {error.message}", hint=error.hint) from error
    except ProviderError as error:
        return _failed(error, time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - one bad plug-in must not keep the others from being asked
        text = f"{name} failed when asked for offers: {type(error).__name__}: {error}"
        return _failed(ProviderUnavailable(text), time.monotonic() - began)


def _failed(error: ProviderError, seconds: float) -> Answer:
    no_credentials = isinstance(error, AuthError)
    return Answer((), seconds, error.message, error.hint, failed=True, no_credentials=no_credentials)


def _snapshot_by_provider() -> Mapping[str, tuple[Offer, ...]]:
    by_provider: dict[str, list[Offer]] = {}
    for offer in snapshot_offers():
        by_provider.setdefault(offer.provider, []).append(offer)
    return {name: tuple(offers) for name, offers in by_provider.items()}


def _unknown(name: str, known: Sequence[str] | Mapping[str, object]) -> UserError:
    return UserError(
        Exit.BAD_INPUT, "unknown-provider", f"no provider is called {name!r}", hint=f"one of: {', '.join(known)}"
    )
