"""All that `gpu compare` looks at, brought together: what can be rented, what can be called, what can be bought."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gpu_cli.compare.calling import calling_options
from gpu_cli.compare.capacity import Capacity
from gpu_cli.compare.catalogue import Catalogue
from gpu_cli.compare.comparison import Ways
from gpu_cli.compare.costs import PerToken
from gpu_cli.compare.options import Option, Unused, Way, cheapest
from gpu_cli.compare.owning import Owned, owned
from gpu_cli.compare.price_table import Card
from gpu_cli.compare.serving import serving_options
from gpu_cli.compare.speeds import Speeds
from gpu_cli.compare.volume import Volume
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.market.market import Market
from gpu_cli.fleet.market.planning import Wish, make_plan, nothing_fits
from gpu_cli.fleet.market.recipe_model import RecipeModel, configurations_of, pinned_by
from gpu_cli.planner.configurations import Configurations
from gpu_cli.planner.rank import Plan
from gpu_cli.planner.trial import usual_request
from gpu_cli.recipe.schema import Privacy


@dataclass(frozen=True)
class Study:
    """What is compared, before it is known how much is asked."""

    model: RecipeModel
    market: Market
    wish: Wish
    """Its session is a day of use."""
    catalogue: Catalogue
    cards: Mapping[str, Card]
    """That may be bought."""
    concurrency: int
    """How many requests one deployment answers at once, where it has room for them."""

    @property
    def usual_request(self) -> tuple[int, int]:
        """Tokens of the prompt and of the answer where nobody says them: those that speeds are given for."""
        return usual_request(self._context)

    def base(self, volume: Volume) -> Capacity:
        """Of what a utilization is of: the deployment to buy, else to rent by the hour, else serverless, that costs
        least. Raises UserError.
        """
        speeds = self._speeds(volume)
        bought, served = [one.option for one in self._bought(speeds)[0]], self._served(speeds)[0]
        by_the_hour = [option for option in served if option.way is Way.ALWAYS_ON]
        option = cheapest(bought or by_the_hour or served, volume)
        if option is None or isinstance(option.cost, PerToken):
            raise self._nothing_fits()
        return option.cost.capacity

    def ways(self, volume: Volume) -> Ways:
        """All that there are to answer these requests. Raises UserError where there is none."""
        speeds = self._speeds(volume)
        served, not_served = self._served(speeds)
        called, not_called = calling_options(self.catalogue, self.model.recipe, volume)
        bought, not_bought = self._bought(speeds)
        if not (served or called or bought):
            raise self._nothing_fits()
        rejected = [Unused(_which(each.offer.offer_id, each.offers), each.text) for each in self._plan.reasons()]
        return Ways(tuple(served), tuple(called), tuple(bought), (*not_called, *not_bought, *not_served, *rejected))

    def _nothing_fits(self) -> UserError:
        recipe = self.model.recipe
        error = nothing_fits(self._plan, self.market, recipe)
        if recipe.privacy is not Privacy.ANY:
            error.hint += f"; `privacy: {recipe.privacy}` in the recipe leaves out APIs"
        return error

    def _speeds(self, volume: Volume) -> Speeds:
        """Raises UserError for requests that no deployment of the recipe takes."""
        tokens, context = volume.input_tokens + volume.output_tokens, self._context
        if context is not None and tokens > context:
            message = f"requests of {tokens:,.0f} tokens are too long: the recipe's context is {context:,}"
            raise UserError(
                Exit.BAD_INPUT, "context", message, hint="say shorter ones, or another `context` in the recipe"
            )
        return Speeds(self.model.recipe, self._configurations, self.wish.measurements, volume, self.concurrency)

    def _served(self, speeds: Speeds) -> tuple[list[Option], list[Unused]]:
        return serving_options(self._plan, speeds, self.wish.session.idle_s)

    def _bought(self, speeds: Speeds) -> tuple[list[Owned], list[Unused]]:
        if not self.cards or self._configurations is None:
            return [], []
        return owned(self.cards, self.catalogue.prices.ownership, self._configurations, speeds)

    @cached_property
    def _plan(self) -> Plan:
        return make_plan(self.model, self.market, self.wish)

    @cached_property
    def _configurations(self) -> Configurations | None:
        recipe, known = self.model.recipe, self.model.known
        return configurations_of(recipe, known, pinned_by(recipe)) if known else None

    @property
    def _context(self) -> int | None:
        """Tokens of one request; None where nobody knows."""
        known = self.model.known
        return self.model.recipe.context or (known.facts.max_context if known else None)


def _which(offer_id: str, offers: int) -> str:
    return f"{offer_id} and {offers - 1} more" if offers > 1 else offer_id
