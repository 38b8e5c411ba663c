"""The offers of a plan as ways of serving: what each costs in a month, and how much it can do."""

from collections.abc import Iterator

from gpu_cli.compare.costs import PerActiveSecond, PerDeployment
from gpu_cli.compare.options import Figure, Option, Source, Unused, Way, cards_text
from gpu_cli.compare.speeds import KnownCapacity, Speeds
from gpu_cli.compare.volume import HOURS_PER_MONTH
from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_cli.planner.offers.session_price import disk_usd_per_hour
from gpu_cli.planner.rank import Candidate, Plan
from gpu_cli.planner.sizing import Verdict
from gpu_cli.recipe.schema import Privacy, Recipe
from gpu_providers.base import Kind, Offer

_OF_STRANGERS = ("vast-", "runpod-community-")
"""How the ids of offers begin whose hosts belong to private owners."""
_CAN_BE_READ = "its host's owner could read what runs there, whatever the cloud promises"
_UNKNOWN_SPEED = "how fast it is is not known: gpu bench measures it"
_TIGHT = "is tight for the model, and others fit: gpu up would take those"


def serving_options(plan: Plan, speeds: Speeds, idle_s: float) -> tuple[list[Option], list[Unused]]:
    """Every candidate in each way in which it can be paid for; and those that cannot be compared.

    The plan's sessions are a day of use each. `idle_s` is how long a worker stays without a request.
    """
    options: list[Option] = []
    unused: list[Unused] = []
    fitting = {_is_serverless(candidate) for candidate in plan.candidates if not _is_tight(candidate)}
    for candidate in plan.candidates:
        offer = candidate.offer
        is_passed_over = _is_tight(candidate) and _is_serverless(candidate) in fitting
        doubt = _TIGHT if is_passed_over else why_implausible(offer)
        known = speeds.find(offer.gpu, offer.gpu_count, candidate.configuration)
        if known and not doubt:
            options.extend(_ways(candidate, known, speeds, idle_s))
        else:
            unused.append(Unused(offer.offer_id, doubt or _UNKNOWN_SPEED))
    return options, unused


def _is_tight(candidate: Candidate) -> bool:
    return candidate.sizing is not None and candidate.sizing.verdict is Verdict.TIGHT


def _is_serverless(candidate: Candidate) -> bool:
    return candidate.offer.kind is Kind.SERVERLESS


def _ways(candidate: Candidate, known: KnownCapacity, speeds: Speeds, idle_s: float) -> Iterator[Option]:
    offer, session, volume = candidate.offer, candidate.session, speeds.volume
    price = Figure(Source.LIST_PRICE, offer.prices_as_of.date())
    notes = _notes(offer, speeds.recipe)
    usd_per_hour = offer.price_usd_per_hour + disk_usd_per_hour(offer, candidate.weights_gib)

    def option(way: Way, cost: PerDeployment | PerActiveSecond) -> Option:
        return Option(way, offer.provider, _named(offer), cost, price, known.figure, notes)

    if _is_serverless(candidate):
        cold_start_s = max(0.0, session.start_s - session.by_terms.free_s)
        yield option(Way.SERVERLESS, PerActiveSecond(known.capacity, usd_per_hour, cold_start_s, idle_s))
        return
    yield option(Way.ALWAYS_ON, PerDeployment(known.capacity, usd_per_hour * HOURS_PER_MONTH, HOURS_PER_MONTH))
    days = volume.days_per_month
    hours_per_month = days * (volume.hours_per_day + (session.start_s + idle_s) / 3600)
    if hours_per_month < HOURS_PER_MONTH:
        yield option(Way.WHILE_USED, PerDeployment(known.capacity, session.cost_usd * days, hours_per_month))


def _named(offer: Offer) -> str:
    spot = " spot" if offer.interruptible else ""
    return f"{cards_text(offer.gpu, offer.gpu_count)}{spot}"


def _notes(offer: Offer, recipe: Recipe) -> tuple[str, ...]:
    if recipe.privacy is not Privacy.ANY and offer.offer_id.startswith(_OF_STRANGERS):
        return (_CAN_BE_READ,)
    return ()
