"""`gpu bench`: how fast a deployment is, by how many requests there are at once."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import (
    AsJson,
    Attempts,
    BootDeadline,
    Budget,
    BudgetGroup,
    Direct,
    MaxPrice,
    OptimizeFor,
    Provider,
    Region,
    RetryUntilUp,
    Serverless,
    Spot,
    StartDeadline,
    Ttl,
    Yes,
    complete_deployment,
    complete_recipe,
    flags_by_setting,
)
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.ui.output import print_message, show

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet

_NOT_OF_A_LAUNCH = frozenset(
    {"name", "concurrency", "rate", "input_tokens", "output_tokens", "dataset", "duration", "stream", "against", "plot",
     "listed", "as_json"}
)  # fmt: skip


def _complete(incomplete: str) -> list[str]:
    return [*complete_deployment(incomplete), *complete_recipe(incomplete)]


def bench(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|RECIPE",
            help="What runs already, or a recipe to bring up for it; default: the only deployment.",
            autocompletion=_complete,
        ),
    ] = None,
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", help="So many requests at once, level by level (1,2,4,8,16,32).")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Instead: so many arrivals a second, at random moments.")
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option("--input", min=1, max=10**7, help="Tokens of each prompt (1024).")
    ] = None,
    output_tokens: Annotated[
        int | None, typer.Option("--output", min=1, max=10**6, help="Tokens of each answer (256).")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Prompts from this file instead of random ones.")
    ] = None,
    duration: Annotated[str, typer.Option("--duration", help="Of each level.")] = "30s",
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Whether answers come token by token.")] = True,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Measure this one in turns with it.", autocompletion=complete_deployment),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw it into this folder, as PNG and SVG.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what was measured before, of all or of NAME.")] = False,
    provider: Provider = None,
    serverless: Serverless = False,
    spot: Spot = False,
    ttl: Ttl = None,
    budget: Budget = None,
    max_price: MaxPrice = None,
    start_deadline: StartDeadline = None,
    boot_deadline: BootDeadline = None,
    optimize: OptimizeFor = Optimize.PRICE,
    region: Region = None,
    attempts: Attempts = None,
    retry_until_up: RetryUntilUp = False,
    budget_group: BudgetGroup = None,
    direct: Direct = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Measure tokens a second and latency against the number of requests, and name the knee.

    The options of a launch are for a recipe: a deployment is brought up, measured, and ended whatever happens.
    """
    import secrets

    from gpu_cli.bench.subject import with_usual_lengths
    from gpu_cli.commands.bench_list import listed_runs
    from gpu_cli.commands.bench_load import load_of, plot_folder, pressures_of
    from gpu_cli.commands.bench_run import measured, ready
    from gpu_cli.commands.bench_shown import shown
    from gpu_cli.commands.here import in_budget_group, need_endpoint, open_here, the_deployment, the_wanted
    from gpu_cli.commands.tied import tied_deployment
    from gpu_cli.fleet.interrupt import interruptible

    if listed:
        with open_here() as fleet:
            show(listed_runs(fleet, name), as_json=as_json)
        return
    load = load_of(input_tokens, output_tokens, dataset, duration, streaming=stream)
    pressures, folder = pressures_of(concurrency, rate, load.duration_s), plot_folder(plot)
    flags = flags_by_setting(provider, None, ttl, budget, max_price, start_deadline, boot_deadline)
    with open_here() as fleet, interruptible():
        rival = need_endpoint(fleet, the_deployment(fleet, against)) if against else None
        if living := _living(fleet, name, rival):
            _refuse_launch_options(context, living)
            block: AbstractContextManager[Deployment] = nullcontext(living)
        else:
            with _clear_error(name):
                wanted, only = the_wanted(
                    name,
                    None,
                    flags,
                    serverless=serverless,
                    spot=spot,
                    direct=direct,
                    tied=True,
                    unique=f"bench-{secrets.token_hex(2)}",
                    yes=yes,
                    optimize=optimize,
                    region=region,
                    attempts=attempts,
                    retry_until_up=retry_until_up,
                )
            with_usual_lengths(load, wanted.recipe.context)  # which is told before anything is rented
            print_message(f"nothing called {name} runs: {wanted.name} is brought up for this, and ended afterwards")
            block = tied_deployment(fleet, in_budget_group(fleet, wanted, budget_group), only)
        generator = ready(fleet)
        with block as deployment:
            outcome = measured(fleet, generator, [deployment, *([rival] if rival else [])], load, pressures)
    shown(outcome, folder, as_json=as_json)


def _refuse_launch_options(context: typer.Context, living: "Deployment") -> None:
    for name in sorted(context.params.keys() - _NOT_OF_A_LAUNCH):
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            message = f"--{name.replace('_', '-')} is for what is launched, and {living.name} runs already"
            hint = f"leave it out, or end that first: gpu down {living.name}"
            raise UserError(Exit.BAD_INPUT, "usage", message, hint=hint)


def _living(fleet: "Fleet", name: str | None, rival: "Deployment | None") -> "Deployment | None":
    """What runs under this name, or all alone without one; None where a recipe is meant. Raises UserError."""
    from gpu_cli.commands.here import the_deployment

    living = fleet.store.find_live(name) if name is not None else the_deployment(fleet, None)
    if living is None:
        return None
    if rival and living.resource_name == rival.resource_name:
        message = f"{living.name} cannot be measured against itself"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="name two deployments: gpu bench NAME --against NAME2")
    print_message(f"{living.name} runs on {living.provider}: that is what is measured")
    return living


@contextmanager
def _clear_error(name: str | None) -> Iterator[None]:
    """What is neither a deployment nor a recipe is reported as no deployment."""
    from gpu_cli.recipe.files import NO_SUCH_RECIPE

    try:
        yield
    except UserError as error:
        if error.code != NO_SUCH_RECIPE:
            raise
        message = f"neither a deployment nor a recipe is called {name!r}"
        raise UserError(Exit.NO_SUCH_DEPLOYMENT, "no-such-deployment", message, hint=error.hint) from None
