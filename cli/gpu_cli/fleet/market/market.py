"""What can be rented: all providers asked at once, and a dated price snapshot for the clouds that cannot be asked."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gpu_cli.config.settings import Limits
from gpu_cli.did_you_mean import did_you_mean
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.ask_all import PATIENCE_S, ask_all
from gpu_cli.fleet.market.recipe_model import RecipeModel
from gpu_cli.fleet.node.image import engine_image
from gpu_cli.fleet.node.node import disk_gib
from gpu_cli.planner.offers.break_even import BY_THE_HOUR
from gpu_cli.planner.offers.filters import cards_named
from gpu_providers import registry
from gpu_providers.base import Kind, Offer, Provider, Search
from gpu_providers.errors import AuthError, InvalidRequest, NoCredentials, ProviderError, RateLimited
from gpu_providers.price_snapshot import snapshot_offers

SearchOf = Callable[[str], Search]
"""What is asked of the provider of this name."""


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
    """They are missing or were refused."""
    credentials_refused: bool = False
    retry_after_s: float = 0.0
    """How long it wants to be left alone, where it was asked too often."""
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
    def retry_after_s(self) -> float:
        """How long nobody is to be asked again: the longest patience that one of them asks for."""
        return max((answer.retry_after_s for answer in self.answers.values()), default=0.0)

    @property
    def snapshot_providers(self) -> tuple[str, ...]:
        """Those whose prices are the snapshot's."""
        return tuple(name for name, answer in self.answers.items() if answer.from_snapshot)


def why_silent(market: Market) -> UserError | None:
    """Why nothing is offered, when that is since nobody could be asked: CREDENTIALS or LAUNCH_FAILED; else None."""
    failed = [answer for answer in market.answers.values() if answer.failed]
    if market.offers or not failed:
        return None
    message = "; ".join(f"{name}: {answer.problem}" for name, answer in market.answers.items() if answer.problem)
    hint = "; ".join(dict.fromkeys(answer.hint for answer in failed if answer.hint))
    if all(answer.no_credentials for answer in failed):
        return UserError(Exit.CREDENTIALS, "no-credentials", message, hint=hint)
    if len(failed) == len(market.answers):
        return UserError(Exit.LAUNCH_FAILED, "no-answer", message, hint=hint or "try again later, or see: gpu doctor")
    return None


def ask_for(fleet: Fleet, search_of: SearchOf, *, only: str | None) -> Market:
    """What every provider, or one, offers for such a search. Raises as `ask`."""
    return Market(_ask_all(fleet, search_of, _installed(only)))


def ask(
    fleet: Fleet,
    model: RecipeModel,
    limits: Limits,
    *,
    only: str | None,
    public: bool = False,
    region: str | None = None,
) -> Market:
    """The offers of every provider, or of one. Raises UserError for one that is not installed, or bad options."""
    return ask_for(fleet, search_for(model, limits, public=public, region=region), only=only)


def ask_or_look_up(
    fleet: Fleet, model: RecipeModel, limits: Limits, *, only: str | None, region: str | None = None
) -> Market:
    """As `ask`, with the snapshot's offers for each cloud that is not installed or has no credentials.

    For a plan that is to be read, not launched, and so with pods and VMs to compare with where serverless is wanted.
    Raises as `ask`.
    """
    snapshot, available = _snapshot_by_provider(), registry.available()
    if only is not None and only not in available and only not in snapshot:
        raise _unknown(only, [*available, *snapshot])
    wanted = [only] if only is not None else sorted({*available, *snapshot})
    installed = [name for name in wanted if name in available]
    answers = dict(_ask_all(fleet, search_for(model, limits, region=region), installed, compare=True))
    for name in wanted:
        answer = answers.get(name, Answer(failed=True, problem="it cannot be asked yet"))
        if name in snapshot and (name not in answers or (answer.no_credentials and not answer.credentials_refused)):
            answer = replace(answer, offers=snapshot[name], from_snapshot=True)
        answers[name] = answer
    return Market({name: answers[name] for name in wanted})


def search_for(model: RecipeModel, limits: Limits, *, public: bool = False, region: str | None = None) -> SearchOf:
    """What a launch of this recipe within these limits needs."""
    recipe = model.recipe
    base = Search(
        kind=recipe.kind,
        min_cuda_version=engine_image(recipe.engine.version).min_cuda_version,
        disk_gib=disk_gib(model.weights_gib, recipe),
        cards=cards_named(recipe.gpu.names),
        min_gpu_memory_gib=model.least_gpu_memory_gib,
        max_price_usd_per_hour=limits.max_price_usd_per_hour,
        spot=recipe.spot,
        ttl_s=limits.ttl_s,
        public=public,
        region=region,
    )
    return lambda name: replace(base, options=recipe.providers.get(name, {}), volume=recipe.cache.get(name, ""))


def _installed(only: str | None) -> Sequence[str]:
    names = list(registry.available())
    if only is not None and only not in names:
        raise _unknown(only, names)
    return names if only is None else [only]


def _ask_all(fleet: Fleet, search_of: SearchOf, names: Sequence[str], *, compare: bool = False) -> Mapping[str, Answer]:
    """Raises UserError for options that a provider refuses: another provider would not mend the recipe."""
    # The only one that is asked keeps nobody waiting who could do with the others' offers.
    patience_s = PATIENCE_S if len(names) > 1 else math.inf
    told = ask_all(fleet, names, lambda one: _offers_of(one, search_of(one.name), compare=compare), patience_s)
    return {name: _answer(name, outcome) for name, outcome in told.items()}


def _offers_of(provider: Provider, search: Search, *, compare: bool) -> Answer:
    began = time.monotonic()
    try:
        offers = tuple(provider.offers(search))
        why = "" if offers else provider.why_no_offers(search)
        beside = _rivals(provider, search) if compare else ()
        return Answer((*offers, *beside), time.monotonic() - began, why)
    except InvalidRequest:
        raise
    except ProviderError as error:
        return _failed(error, time.monotonic() - began)


def _answer(name: str, outcome: Answer | ProviderError) -> Answer:
    if isinstance(outcome, InvalidRequest):
        raise UserError(Exit.BAD_INPUT, "bad-recipe", f"providers: {name}: {outcome.message}", hint=outcome.hint)
    return _failed(outcome, 0.0) if isinstance(outcome, ProviderError) else outcome


def _rivals(provider: Provider, search: Search) -> Sequence[Offer]:
    """What serverless workers compete with; without it a plan says less, and nothing fails.

    Raises NoCredentials: a cloud may need none to say that it has no serverless.
    """
    if search.kind is not Kind.SERVERLESS:
        return ()
    try:
        return [offer for offer in provider.offers(replace(search, kind=None)) if offer.kind in BY_THE_HOUR]
    except NoCredentials:
        raise
    except ProviderError:
        return ()


def _failed(error: ProviderError, seconds: float) -> Answer:
    no_credentials = isinstance(error, AuthError)
    return Answer(
        seconds=seconds,
        problem=error.message,
        hint=error.hint,
        failed=True,
        no_credentials=no_credentials,
        credentials_refused=no_credentials and not isinstance(error, NoCredentials),
        retry_after_s=error.retry_after_s if isinstance(error, RateLimited) else 0.0,
    )


def _snapshot_by_provider() -> Mapping[str, tuple[Offer, ...]]:
    by_provider: dict[str, list[Offer]] = {}
    for offer in snapshot_offers():
        by_provider.setdefault(offer.provider, []).append(offer)
    return {name: tuple(offers) for name, offers in by_provider.items()}


def _unknown(name: str, known: Sequence[str] | Mapping[str, object]) -> UserError:
    message = f"no provider is called {name!r}{did_you_mean(name, known)}"
    return UserError(Exit.BAD_INPUT, "unknown-provider", message, hint=f"one of: {', '.join(known)}")
