"""`--retry-until-up`: the clouds are asked again and again for offers, as long as time may mend what was in the way."""

import math
import random
from collections.abc import Iterator, Sequence

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.called_off import check_not_called_off
from gpu_cli.fleet.launch.failover import launch
from gpu_cli.fleet.launch.health import NeverHealthy
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt, may_pass
from gpu_cli.fleet.market.market import Answer, Market, ask
from gpu_cli.fleet.market.planning import Wish, make_plan, plan_on
from gpu_cli.fleet.market.recipe_model import RecipeModel
from gpu_cli.planner.offers.filters import Filters
from gpu_cli.ui.progress import Progress
from gpu_cli.units import format_duration, parse_duration
from gpu_providers.errors import RateLimited
from gpu_providers.price_snapshot import snapshot_offers

FIRST_PAUSE_S = 30.0
"""`GPU_RETRY_PAUSE_S` in the environment replaces it."""
LONGEST_PAUSE_S = 600.0
LOOK_EVERY_S = 1.0
"""During a pause, whether `gpu down` has called the launch off."""
JITTER = 0.25
"""So that many who wait for the same cloud do not ask it at the same moment."""
_IN_VAIN = frozenset({"not-launched", "nothing-fits", "no-answer"})
"""Errors of a round; others are about more than its offers."""


def launch_in_rounds(
    fleet: Fleet, wanted: Wanted, provider: str | None, progress: Progress, tried: list[Attempt]
) -> Deployment:
    """Plan and launch, of all providers or of one; once, or until it is up. Raises as `planning` and `failover`."""
    pauses = _pauses_s(_first_pause_s(fleet))
    model = RecipeModel(wanted.recipe, fleet.paths, fleet.environ)
    while True:
        check_not_called_off(fleet, wanted.name)
        first = len(tried)
        market = ask(fleet, model, wanted.limits, only=provider, public=wanted.direct, region=wanted.region)
        try:
            plan = plan_on(fleet, wanted, model, market)
            return launch(fleet, wanted, plan.candidates, progress, tried)
        except UserError as error:
            if not _goes_on(wanted, model, provider, error, tried):
                raise
            pause_s = max(next(pauses), market.retry_after_s, _asked_for_s(tried[first:]))
            progress.note(f"{error.message}; asking again in {format_duration(round(pause_s, 1))}")
        _pause(fleet, wanted.name, pause_s)


def _pause(fleet: Fleet, name: str, pause_s: float) -> None:
    """Raises UserError as soon as the launch is called off."""
    until = fleet.clock.now() + pause_s
    while (left_s := until - fleet.clock.now()) > 0:
        check_not_called_off(fleet, name)
        fleet.clock.sleep(min(left_s, LOOK_EVERY_S))


def _goes_on(
    wanted: Wanted, model: RecipeModel, provider: str | None, error: UserError, tried: Sequence[Attempt]
) -> bool:
    """Whether another round is wanted, allowed, and may end otherwise than this one did, with this error."""
    in_vain = isinstance(error, NeverHealthy) or error.code in _IN_VAIN
    if not wanted.retry_until_up or not in_vain or len(tried) >= (wanted.attempts or math.inf):
        return False
    if tried:
        return may_pass(tried)
    return error.code == "no-answer" or (error.code == "nothing-fits" and _could_fit(model, provider))


def _could_fit(model: RecipeModel, provider: str | None) -> bool:
    """Whether any cloud, or this one, sells at any time and price what the model fits on. A plug-in's may."""
    every = snapshot_offers()
    sold = [offer for offer in every if provider in (None, offer.provider)] or every
    everything = Market({"": Answer(tuple(sold))})
    return bool(make_plan(model, everything, Wish(Filters(spot=model.recipe.spot))).candidates)


def _first_pause_s(fleet: Fleet) -> float:
    """Raises UserError BAD_INPUT."""
    try:
        return parse_duration(fleet.environ.get("GPU_RETRY_PAUSE_S") or FIRST_PAUSE_S)
    except ValueError as error:
        message = f"GPU_RETRY_PAUSE_S: {error}"
        raise UserError(Exit.BAD_INPUT, "bad-config", message, hint="correct it, or leave it out") from None


def _pauses_s(first_s: float) -> Iterator[float]:
    pause_s = min(first_s, LONGEST_PAUSE_S)
    while True:
        yield pause_s * random.uniform(1 - JITTER, 1 + JITTER)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _asked_for_s(tried: Sequence[Attempt]) -> float:
    """The longest patience that a cloud has asked for."""
    return max((each.error.retry_after_s for each in tried if isinstance(each.error, RateLimited)), default=0.0)
