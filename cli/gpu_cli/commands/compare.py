"""`gpu compare`: serve or call, rent or buy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, Idle, Provider, complete_recipe
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from gpu_cli.commands.compare_asked import Asked
    from gpu_cli.compare.catalogue import Catalogue
    from gpu_cli.compare.comparison import Comparison
    from gpu_cli.compare.price_table import Card
    from gpu_cli.compare.study import Study
    from gpu_cli.fleet.fleet import Fleet
    from gpu_cli.fleet.launch.launch import Wanted
    from gpu_cli.plots.charts import CostChart


def compare(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe, or ORG/MODEL[:QUANT]; default: ./gpu.yaml.", autocompletion=complete_recipe),
    ] = None,
    tokens_in: Annotated[
        str | None, typer.Option("--tokens-in", help="Of all prompts of a day of use (10M); with --tokens-out.")
    ] = None,
    tokens_out: Annotated[str | None, typer.Option("--tokens-out", help="Of all answers of a day of use (2M).")] = None,
    requests: Annotated[str | None, typer.Option("--requests", help="On a day of use (20k).")] = None,
    utilization: Annotated[
        float | None,
        typer.Option("--utilization", min=0.001, max=1.0, help="Instead: how busy it keeps one deployment (0.5)."),
    ] = None,
    input_tokens: Annotated[int | None, typer.Option("--input", min=1, help="Of each prompt (1024).")] = None,
    output_tokens: Annotated[int | None, typer.Option("--output", min=1, help="Of each answer (256).")] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=24.0, help="Of use, each day.")] = 24.0,
    days: Annotated[
        float | None, typer.Option("--days", min=1.0, max=31.0, help="Of use, each month; default: all.")
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option("--peak", min=1.0, max=1000.0, help="The busiest hour against an average one (2)."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=1024, help="Requests that one deployment answers at once.")
    ] = 64,
    growth: Annotated[str | None, typer.Option("--growth", help="Each month (10%/month).")] = None,
    months: Annotated[int, typer.Option("--months", min=1, max=120, help="To look ahead, with --growth.")] = 12,
    buy: Annotated[bool, typer.Option("--buy", help="Cards of your own, too.")] = False,
    card: Annotated[list[str] | None, typer.Option("--card", help="Buy only this one; may be repeated.")] = None,
    provider: Provider = None,
    idle: Idle = None,
    prices: Annotated[Path | None, typer.Option("--prices", help="Prices over those that ship.")] = None,
    offers: Annotated[Path | None, typer.Option("--offers", help="Offers of `gpu plan --save`.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the costs into this folder, PNG and SVG.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Show every option and every reason.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what a model costs each month: served on rented cards, called as an API, or on cards of your own."""
    from gpu_cli.commands.compare_asked import Asked, growth_of
    from gpu_cli.commands.compare_chart import cost_chart
    from gpu_cli.commands.compare_report import comparison_result, months_table, story
    from gpu_cli.commands.here import open_here, the_wanted
    from gpu_cli.ui.output import print_message, print_prose, print_table, show

    asked = Asked(tokens_in, tokens_out, requests, utilization, input_tokens, output_tokens, hours, days, peak)
    asked.check()
    monthly_growth = growth_of(growth)
    wanted, only = the_wanted(recipe, None, {"provider": provider, "idle": idle}, use=f"{round(3600 * hours)}s")
    with open_here() as fleet:
        study = _study(
            fleet, wanted, only, offers, prices, buying=buy or bool(card), cards=card or (), concurrency=concurrency
        )
        found = _comparison(fleet, study, asked, monthly_growth, months)
    chart = cost_chart(found, wanted.recipe.name)
    files = _drawn(chart, plot, f"{wanted.recipe.name}-cost") if plot else ()
    result = comparison_result(found, wanted, study, files, everything=everything)
    show(replace(result, figure=lambda columns, colour: _letters(chart, columns, colour)), as_json=as_json)
    if found.months and not as_json:
        print_table(months_table(found))
    print_prose(story(found, wanted, study, everything=everything))
    for file in files:
        print_message(f"written: {file}")


def _study(
    fleet: "Fleet",
    wanted: "Wanted",
    only: str | None,
    offers: Path | None,
    prices: Path | None,
    *,
    buying: bool,
    cards: Sequence[str],
    concurrency: int,
) -> "Study":
    from gpu_cli.compare.price_files import load_catalogue
    from gpu_cli.compare.study import Study
    from gpu_cli.fleet.market.market import ask_or_look_up
    from gpu_cli.fleet.market.market_file import read_market
    from gpu_cli.fleet.market.planning import Wish
    from gpu_cli.fleet.market.recipe_model import RecipeModel

    catalogue = load_catalogue(fleet.paths, prices)
    to_buy = _to_buy(catalogue, cards) if buying else {}
    model = RecipeModel(wanted.recipe, fleet.paths, fleet.environ)
    if offers:
        return Study(model, read_market(offers).of(only), Wish.to_replay(wanted), catalogue, to_buy, concurrency)
    market = ask_or_look_up(fleet, model, wanted.limits, only=only)
    return Study(model, market, Wish.to_launch(fleet, wanted), catalogue, to_buy, concurrency)


def _to_buy(catalogue: "Catalogue", names: Sequence[str]) -> Mapping[str, "Card"]:
    """All that have a price, or those that are named. Raises UserError BAD_INPUT for one that has none."""
    from gpu_cli.planner.offers.filters import same_card

    known = catalogue.prices.cards
    for name in names:
        if not any(same_card(name, card) for card in known):
            hint = f"those with one: {', '.join(known)}; add others to prices.yaml in the folder of: gpu config path"
            raise UserError(Exit.BAD_INPUT, "no-price", f"no price is known at which {name} is sold", hint=hint)
    return {card: sold for card, sold in known.items() if not names or any(same_card(name, card) for name in names)}


def _comparison(fleet: "Fleet", study: "Study", asked: "Asked", growth: float, months: int) -> "Comparison":
    from gpu_cli.compare.comparison import compare as compared

    one = asked.one_request(study.usual_request)
    volume = one.times(asked.requests_per_day(one, study.base))
    today = datetime.fromtimestamp(fleet.clock.now(), UTC).date()
    return compared(study.ways(volume), volume, growth, months, today)


def _drawn(chart: "CostChart", folder: Path, name: str) -> Sequence[Path]:
    from gpu_cli.plots.compare_figure import write_cost_figure  # with matplotlib, which takes a second to import

    return write_cost_figure(chart, folder, name)


def _letters(chart: "CostChart", columns: int, colour: bool) -> str:
    from gpu_cli.plots.terminal import cost_in_terminal

    return cost_in_terminal(chart, columns, colour=colour)
