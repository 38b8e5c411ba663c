"""From a recipe to a plan: what is known of the model, what can be rented, and what of that will do."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.market.experience import expectations
from gpu_cli.fleet.market.market import Market, ask, why_silent
from gpu_cli.fleet.market.measured import measurements
from gpu_cli.fleet.market.recipe_model import RecipeModel, configurations_of, pinned_by
from gpu_cli.fleet.node.image import engine_image
from gpu_cli.planner.measured import NOTHING_MEASURED, Measurements
from gpu_cli.planner.offers.expectations import NOTHING_LEARNT, Expectations
from gpu_cli.planner.offers.filters import ANY_OFFER, Filters
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.planner.offers.session_price import USUAL_SESSION, Session
from gpu_cli.planner.rank import Plan, rank
from gpu_cli.recipe.schema import Recipe

if TYPE_CHECKING:
    from gpu_cli.fleet.launch.launch import Wanted

SHOWN_REASONS = 3
"""Of why nothing fits: the most frequent ones say enough."""


@dataclass(frozen=True)
class Wish:
    """What the user wants of a plan, beyond the recipe."""

    filters: Filters = ANY_OFFER
    optimize: Optimize = Optimize.PRICE
    session: Session = USUAL_SESSION
    expectations: Expectations = NOTHING_LEARNT
    measurements: Measurements = NOTHING_MEASURED

    @classmethod
    def to_replay(cls, wanted: "Wanted") -> "Wish":
        """What the user says of offers from a file: whoever says the same gets the same plan."""
        filters = Filters(wanted.limits.max_price_usd_per_hour, wanted.region, wanted.recipe.spot)
        return cls(filters, wanted.optimize, Session(wanted.use_s, wanted.limits.idle_s))

    @classmethod
    def to_launch(cls, fleet: Fleet, wanted: "Wanted") -> "Wish":
        """The same with what this machine knows of clouds and hosts: how earlier launches went, how fast they were."""
        said = cls.to_replay(wanted)
        filters = replace(said.filters, bad_hosts=fleet.store.bad_hosts(fleet.clock.now()))
        return replace(said, filters=filters, expectations=expectations(fleet), measurements=measurements(fleet.store))


def make_plan(model: RecipeModel, market: Market, wish: Wish) -> Plan:
    """The market's offers ranked for the recipe. What is not known of the model is a reason, and an error only where
    nothing will do for that reason. Raises UserError.
    """
    recipe, configurations, missing = model.recipe, None, None
    if any(offer.gpu_count for offer in market.offers):  # a CPU needs no facts, and no network to get them
        missing = model.missing
        configurations = configurations_of(recipe, model.known, pinned_by(recipe)) if model.known else None
    plan = rank(
        recipe,
        market.offers,
        configurations,
        filters=replace(wish.filters, architectures=engine_image(recipe.engine.version).architectures),
        session=wish.session,
        optimize=wish.optimize,
        expectations=wish.expectations,
        measurements=wish.measurements,
        facts_missing=missing.message if missing else "",
    )
    if missing and not plan.candidates and any(out.reason == missing.message for out in plan.rejected):
        raise missing
    return plan


def launchable_plan(fleet: Fleet, wanted: "Wanted", *, provider: str | None) -> Plan:
    """What would be tried, in order, of all providers or of one.

    Raises UserError NOTHING_FITS when that is nothing, CREDENTIALS or LAUNCH_FAILED when nobody could be asked.
    """
    model = RecipeModel(wanted.recipe, fleet.paths, fleet.environ)
    market = ask(fleet, model, wanted.limits, only=provider, public=wanted.direct, region=wanted.region)
    return plan_on(fleet, wanted, model, market)


def plan_on(fleet: Fleet, wanted: "Wanted", model: RecipeModel, market: Market) -> Plan:
    """What would be tried of this market. Raises as `launchable_plan`."""
    plan = make_plan(model, market, Wish.to_launch(fleet, wanted))
    if not plan.candidates:
        raise nothing_fits(plan, market, model.recipe)
    return plan


def nothing_fits(plan: Plan, market: Market, recipe: Recipe) -> UserError:
    """Why there is no candidate: what was offered will not do, nothing was offered, or nobody could be asked."""
    if silent := why_silent(market):
        return silent
    asked = {name: answer for name, answer in market.answers.items() if not answer.from_snapshot}
    reasons = [*_rejections(plan), *(f"{name}: {answer.problem}" for name, answer in asked.items() if answer.problem)]
    hints = [answer.hint for answer in asked.values() if answer.hint]
    hint = plan.note or "; ".join(hints) or "see what the clouds have: gpu plan; or loosen `gpu:` in the recipe"
    if recipe.regions:
        hint += f"; `regions: [{', '.join(recipe.regions)}]` in the recipe leaves out what is elsewhere"
    return UserError(Exit.NOTHING_FITS, "nothing-fits", f"nothing fits: {'; '.join(reasons)}", hint=hint)


def _rejections(plan: Plan) -> list[str]:
    reasons = plan.reasons()
    shown = [f"{each.offer.offer_id}{_others(each.offers - 1)} {each.text}" for each in reasons[:SHOWN_REASONS]]
    more = len(reasons) - SHOWN_REASONS
    return [*shown, f"and {more} more reasons (gpu plan --all shows them)"] if more > 0 else shown


def _others(count: int) -> str:
    return f" and {count} more:" if count else ""
