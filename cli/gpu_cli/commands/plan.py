"""`gpu plan`: what would be rented, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.here import USUAL_USE
from gpu_cli.commands.options import (
    AsJson,
    MaxPrice,
    OptimizeFor,
    Provider,
    Region,
    Serverless,
    Spot,
    Use,
    complete_recipe,
)
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.planner.offers.objectives import Optimize

if TYPE_CHECKING:
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.fleet.market.market import Market
    from gpu_cli.fleet.market.planning import Wish
    from gpu_cli.fleet.market.recipe_model import RecipeModel
    from gpu_cli.ui.output import Result

WATCH_S = 30.0


def plan(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe, or ORG/MODEL[:QUANT]; default: ./gpu.yaml.", autocompletion=complete_recipe),
    ] = None,
    provider: Provider = None,
    serverless: Serverless = False,
    max_price: MaxPrice = None,
    region: Region = None,
    spot: Spot = False,
    optimize: OptimizeFor = Optimize.PRICE,
    use: Use = USUAL_USE,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the offers to this file, and plan as --offers will.")
    ] = None,
    offers: Annotated[Path | None, typer.Option("--offers", help="Plan with the offers of such a file.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show every candidate and every rejection.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Ask again every 30 s, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rank what can be rented for a recipe, with reasons; rent nothing."""
    from gpu_cli.commands.here import open_here, the_wanted
    from gpu_cli.fleet.market.planning import Wish
    from gpu_cli.fleet.market.recipe_model import RecipeModel
    from gpu_cli.ui.output import show

    if watch and (as_json or offers):
        message = "--watch asks again, for people: it goes with neither --json nor --offers"
        raise UserError(Exit.BAD_INPUT, "usage", message)
    if save and offers:
        raise UserError(Exit.BAD_INPUT, "usage", "--save and --offers exclude each other", hint="give one of them")
    flags = {"provider": provider, "max_price_usd_per_hour": max_price}
    wanted, only = the_wanted(
        recipe, None, flags, serverless=serverless, spot=spot, optimize=optimize, use=use, region=region
    )
    with open_here() as fleet:
        model = RecipeModel(wanted.recipe, fleet.paths, fleet.environ)
        while True:
            market = _market(fleet, model, wanted, only, offers, save)
            wish = Wish.to_replay(wanted) if offers or save else Wish.to_launch(fleet, wanted)
            show(_planned(model, wanted, market, wish, everything=everything), as_json=as_json)
            if not watch:
                break
            fleet.clock.sleep(WATCH_S)


def _market(
    fleet: "Fleet", model: "RecipeModel", wanted: "Wanted", only: str | None, offers: Path | None, save: Path | None
) -> "Market":
    from gpu_cli.fleet.market.market import ask_or_look_up
    from gpu_cli.fleet.market.market_file import read_market, write_market

    if offers is not None:
        return read_market(offers).of(only)
    market = ask_or_look_up(fleet, model, wanted.limits, only=only, region=wanted.region)
    if save is not None:
        write_market(save, market)
    return market


def _planned(model: "RecipeModel", wanted: "Wanted", market: "Market", wish: "Wish", *, everything: bool) -> "Result":
    """Raises UserError when nothing will do."""
    from gpu_cli.commands.plan_report import (
        plan_document,
        plan_messages,
        plan_prose,
        plan_table,
        providers_document,
        why_not,
    )
    from gpu_cli.fleet.market.planning import make_plan, nothing_fits
    from gpu_cli.ui.output import Result, print_message

    made = make_plan(model, market, wish)
    if not made.candidates:
        for reason in why_not(made, everything=True) if everything else ():
            print_message(reason)
        raise nothing_fits(made, market, model.recipe)
    document = {"recipe": wanted.recipe.name, **plan_document(made), "providers": providers_document(market)}
    defaults = tuple(f"by default: {text}" for text in wanted.defaults)
    prose = (*defaults, *plan_prose(made, market, everything=everything))
    return Result(document, table=plan_table(made, everything=everything), prose=prose, messages=plan_messages(made))
