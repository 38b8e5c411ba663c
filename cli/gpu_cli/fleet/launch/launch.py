"""The launch of a deployment on one offer, seen through: it is what was wanted, or nothing is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpu_cli.config.settings import Limits
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.end.spot import Terms, spot_recipes
from gpu_cli.fleet.end.teardown import finish
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import await_guard, call_guard
from gpu_cli.fleet.launch.called_off import check_not_called_off
from gpu_cli.fleet.launch.caveats import tell_caveats
from gpu_cli.fleet.launch.create import create
from gpu_cli.fleet.launch.fallback_cards import dearest_usd_per_hour, fallbacks
from gpu_cli.fleet.launch.start import Known, advance, cleaned_up, watch_start
from gpu_cli.fleet.market.experience import keep_expected
from gpu_cli.fleet.market.measured import keep_serving
from gpu_cli.fleet.node.runtime import prepare, request_for
from gpu_cli.fleet.reach.link import reached_at
from gpu_cli.planner.offers.filters import regions_in
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.planner.offers.session_price import DEFAULT_USE_S
from gpu_cli.planner.rank import Candidate
from gpu_cli.recipe.schema import Recipe
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Kind, LaunchRequest, Link, Offer, Provider, Resource
from gpu_providers.errors import CreateUnknown, ProviderError


@dataclass(frozen=True)
class Wanted:
    """What `gpu up` was asked for."""

    recipe: Recipe
    name: str
    limits: Limits
    defaults: tuple[str, ...] = ()
    """What was decided where no recipe says it, a sentence each."""
    wait: bool = True
    """Come back only when it is healthy; without it the guard watches the rest of the start."""
    tied: bool = False
    """It must not outlive the calling process (`gpu run`)."""
    direct: bool = False
    """By its endpoint's own URL, even where that is plain HTTP over the internet."""
    ttl_said: bool = False
    """Somebody decided how long it may live: it is not the built-in default."""
    yes: bool = False
    """It may run where nothing but this machine would end it."""
    optimize: Optimize = Optimize.PRICE
    use_s: float = DEFAULT_USE_S
    """How long it will probably be used."""
    region: str | None = None
    """Words, or beginnings of words, of the region's name; None for any."""
    attempts: int | None = None
    """How many offers are ordered at most; None for as many as it takes."""
    retry_until_up: bool = False
    """When all has been tried, ask again, until it is up."""
    race: int = 1
    """How many offers are launched at once; the first that is healthy is kept."""
    budget_group: str = ""
    """Whose budget it shares with others; empty for none."""
    kept_as: str = ""
    """Of a racer: how it is called if it is kept. Its labels say so already: they are for good."""


def check_name_free(fleet: Fleet, name: str) -> None:
    """For `gpu run`, whose deployment must be its own. Raises UserError when one of this name lives."""
    if fleet.store.find_live(name):
        hint = f"use it (gpu env {name}), or leave --name out"
        raise UserError(Exit.BAD_INPUT, "name-taken", f"{name} is running already", hint=hint)


def launch_one(
    fleet: Fleet,
    wanted: Wanted,
    candidate: Candidate,
    candidates: Sequence[Candidate],
    progress: Progress,
    *,
    resource_name: str,
) -> Deployment:
    """One order, seen through: healthy, or just launched without `wait`. `candidates` is the plan that it is of.

    The caller holds the launch lock of the name. After any error nothing is left, or it is CLEANUP_UNCONFIRMED and says
    what is; the record has what it has cost, under `resource_name`, if it came so far. Raises ProviderError,
    NeverHealthy, or another UserError, such as for what someone else has ended.
    """
    provider = fleet.provider(candidate.offer.provider)
    instead = fallbacks(candidate, candidates, provider, wanted.limits.max_price_usd_per_hour)
    planned = _planned(fleet, wanted, resource_name, candidate.offer, Link.DIRECT if wanted.direct else provider.link)
    deployment = replace(planned, price_usd_per_hour=dearest_usd_per_hour(candidate.offer, instead))
    fleet.store.add(deployment)
    with cleaned_up(fleet, deployment, progress) as known:
        keep_expected(fleet.store, resource_name, candidate)
        keep_serving(fleet.store, resource_name, wanted.recipe, candidate)
        timed, request = _prepared(fleet, wanted, candidate, deployment, progress)
        progress.stage("start" if candidate.offer.kind is Kind.PROCESS else "order")
        progress.detail(candidate.offer.offer_id)
        known.deployment = _intended(fleet, timed)
        resource = _created(fleet, known, provider, replace(request, instead=instead))
        known.deployment = replace(known.deployment, resource_id=resource.resource_id)
        deployment = _launched(fleet, known.deployment, resource, tied=wanted.wait or wanted.tied)
        tell_caveats(candidate, instead, provider, progress)
    if not wanted.wait:
        return deployment
    boot_deadline_s = wanted.limits.boot_deadline_s
    return watch_start(fleet, deployment, progress, tied=wanted.tied, boot_deadline_s=boot_deadline_s)


def _prepared(
    fleet: Fleet, wanted: Wanted, candidate: Candidate, deployment: Deployment, progress: Progress
) -> tuple[Deployment, LaunchRequest]:
    """All that this side has to get ready, and from when on its limits count."""
    check_not_called_off(fleet, wanted.kept_as or wanted.name)
    called = call_guard(fleet)
    _keep_recipe(fleet, wanted, candidate.offer, deployment)
    prepared = prepare(fleet, wanted.recipe, candidate, fleet.provider(deployment.provider), progress)
    await_guard(fleet, called)
    timed = _timed(fleet, wanted, deployment)
    labelled = replace(timed, name=wanted.kept_as or wanted.name)
    request = request_for(fleet, wanted.recipe, labelled, candidate, prepared)
    return timed, replace(request, regions=regions_in(wanted.region, candidate.offer, wanted.recipe.regions))


def _keep_recipe(fleet: Fleet, wanted: Wanted, offer: Offer, deployment: Deployment) -> None:
    """Of what can be taken back, before it can be.

    Raises UserError for a replacement that was called off (`replace.call_off`) before it was on record.
    """
    kept, limits = spot_recipes(fleet), wanted.limits
    lost = kept.terms_beside(wanted.recipe.path)
    if kept.is_of_lost(wanted.recipe.path) and not lost:
        raise UserError(Exit.LAUNCH_FAILED, "not-wanted", f"{wanted.name} is not wanted any more")
    if not offer.interruptible:
        return
    replacements = lost.replacements + 1 if lost else 0
    terms = Terms(limits.max_price_usd_per_hour, limits.boot_deadline_s, replacements, wanted.region)
    kept.keep(deployment.resource_name, wanted.recipe, terms)


def _planned(fleet: Fleet, wanted: Wanted, resource_name: str, offer: Offer, link: Link) -> Deployment:
    now, limits = fleet.clock.now(), wanted.limits
    return Deployment(
        resource_name=resource_name,
        name=wanted.name,
        recipe=wanted.recipe.name,
        recipe_digest=wanted.recipe.digest(),
        state=State.PLANNED,
        provider=offer.provider,
        kind=offer.kind,
        gpu=offer.gpu,
        gpu_count=offer.gpu_count,
        region=offer.region,
        model=wanted.recipe.served_name,
        price_usd_per_hour=offer.price_usd_per_hour,
        idle_s=limits.idle_s,
        deadline_at=now + limits.ttl_s,
        start_deadline_at=now + limits.start_deadline_s,
        budget_usd=limits.budget_usd,
        created_at=now,
        link=link,
        host=offer.host,
        budget_group=wanted.budget_group,
    )


def _timed(fleet: Fleet, wanted: Wanted, deployment: Deployment) -> Deployment:
    """As it will be ordered. The limits count from here: what was prepared on this side costs nothing."""
    now, limits = fleet.clock.now(), wanted.limits
    return replace(
        deployment,
        account=fleet.provider(deployment.provider).account(),
        launched_at=now,
        deadline_at=now + limits.ttl_s,
        start_deadline_at=now + limits.start_deadline_s,
    )


def _intended(fleet: Fleet, timed: Deployment) -> Deployment:
    """On record before the cloud is asked."""
    return advance(
        fleet,
        timed,
        State.LAUNCHING,
        account=timed.account,
        launched_at=timed.launched_at,
        deadline_at=timed.deadline_at,
        start_deadline_at=timed.start_deadline_at,
    )


def _created(fleet: Fleet, known: Known, provider: Provider, request: LaunchRequest) -> Resource:
    """A refusal is the cloud's word that nothing was made: then there is nothing to destroy, and nothing was spent."""
    try:
        return create(fleet, provider, request)
    except CreateUnknown:
        raise
    except ProviderError as error:
        fleet.store.update(known.deployment.resource_name, launched_at=None)
        known.deployment = finish(fleet, known.deployment, reason=error.message)
        raise


def _launched(fleet: Fleet, deployment: Deployment, resource: Resource, *, tied: bool) -> Deployment:
    """Its id goes on record whatever others have made of it meanwhile: they may need it to end it.

    What scales to zero is metered from now on: that its making took long has cost nothing, but for the seconds of a
    worker that was woken meanwhile.
    """
    metered = {"metered_usd": 0.0, "metered_at": fleet.clock.now()} if deployment.kind is Kind.SERVERLESS else {}
    fleet.store.update(
        deployment.resource_name,
        resource_id=resource.resource_id,
        endpoint=reached_at(deployment.link, resource.endpoint),
        region=resource.region or deployment.region,
        price_usd_per_hour=_price(deployment, resource),
        most_workers=resource.most_workers,
        **metered,
    )
    return advance(fleet, deployment, State.BOOTING, tied=tied)


def _price(deployment: Deployment, resource: Resource) -> float:
    """What the cloud says that it charges. For what scales to zero, that of one worker: it has none yet."""
    if deployment.kind is Kind.SERVERLESS:
        return deployment.price_usd_per_hour
    return resource.full_price
