"""Arguments and options that several commands share."""

import os
from typing import Annotated

import typer

from gpu_cli.planner.offers.objectives import Optimize


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes for the shell."""
    from gpu_cli.paths import Paths
    from gpu_cli.recipe.files import recipe_names

    return [name for name in recipe_names(Paths.from_environ(os.environ)) if name.startswith(incomplete)]


def complete_deployment(incomplete: str) -> list[str]:
    """Names of what lives, for the shell."""
    from gpu_cli.commands.here import open_here

    with open_here() as fleet:
        return [deployment.name for deployment in fleet.store.live() if deployment.name.startswith(incomplete)]


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DeploymentName = Annotated[
    str | None,
    typer.Argument(help="A deployment's name; default: the only one.", autocompletion=complete_deployment),
]
Provider = Annotated[str | None, typer.Option("--provider", help="Only this provider.")]
Idle = Annotated[str | None, typer.Option("--idle", help="End it after so long without requests (15m).")]
Ttl = Annotated[str | None, typer.Option("--ttl", help="End it after so long, whatever it does (24h).")]
Budget = Annotated[str | None, typer.Option("--budget", help="End it when it has cost so many US dollars.")]
MaxPrice = Annotated[str | None, typer.Option("--max-price", help="Pay at most so many US dollars an hour.")]
StartDeadline = Annotated[str | None, typer.Option("--start-deadline", help="Give up if not healthy after so long.")]

BootDeadline = Annotated[
    str | None, typer.Option("--boot-deadline", help="Give up on a host without progress for so long (30m).")
]
Region = Annotated[str | None, typer.Option("--region", help="Only where the region's name has this.")]
OptimizeFor = Annotated[
    Optimize, typer.Option("--optimize", help="What the first is to be best in: the price is that of a session.")
]
Use = Annotated[str, typer.Option("--use", help="How long it will probably be used.")]
Attempts = Annotated[int | None, typer.Option("--attempts", min=1, help="Order at most so many times.")]
RetryUntilUp = Annotated[
    bool, typer.Option("--retry-until-up", help="When all was tried, wait and ask again, as long as that may help.")
]
Race = Annotated[
    int, typer.Option("--race", min=1, help="Launch so many at once, keep the first that is healthy, end the others.")
]
BudgetGroup = Annotated[
    str | None,
    typer.Option(
        "--budget-group",
        envvar="GPU_BUDGET_GROUP",
        help="Share a budget with all that name it: NAME=USD sets it, NAME joins it.",
    ),
]
Spot = Annotated[bool, typer.Option("--spot", help="Also what the cloud may take back at any time.")]
Direct = Annotated[
    bool,
    typer.Option(
        "--direct",
        "--public",
        help="The endpoint's own address instead of an encrypted local port, where the cloud has no TLS of its own "
        "(Vast.ai, Lambda): plain HTTP over the internet.",
    ),
]
Checked = Annotated[
    bool, typer.Option("--check", help="Before it is handed over, check that it does what its recipe promises.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Also where nothing but this machine would end it, without a --ttl.")
]
Serverless = Annotated[bool, typer.Option("--serverless", help="A serverless endpoint, and nothing else.")]


def flags_by_setting(
    provider: str | None,
    idle: str | None,
    ttl: str | None,
    budget: str | None,
    max_price: str | None,
    start_deadline: str | None,
    boot_deadline: str | None,
) -> dict[str, str | None]:
    """What was given with the flags of a launch, by the name of the setting that each stands for."""
    return {
        "provider": provider,
        "idle": idle,
        "ttl": ttl,
        "budget_usd": budget,
        "max_price_usd_per_hour": max_price,
        "start_deadline": start_deadline,
        "boot_deadline": boot_deadline,
    }
