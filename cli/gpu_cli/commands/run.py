"""`gpu run`: a command with an endpoint of its own, for as long as the command lasts."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.here import USUAL_USE
from gpu_cli.commands.options import (
    Attempts,
    BootDeadline,
    Budget,
    BudgetGroup,
    Direct,
    Idle,
    MaxPrice,
    OptimizeFor,
    Provider,
    Race,
    Region,
    RetryUntilUp,
    Serverless,
    Spot,
    StartDeadline,
    Ttl,
    Use,
    Yes,
    complete_recipe,
    flags_by_setting,
)
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.planner.offers.objectives import Optimize
from gpu_cli.ui.output import print_message

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet

COMMAND_GRACE_S = 10.0
GUARD_POLL_S = 2.0


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file.", autocompletion=complete_recipe)],
    command: Annotated[list[str], typer.Argument(help="After --: the command and its arguments.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the deployment; default: RECIPE-run-….")] = None,
    provider: Provider = None,
    serverless: Serverless = False,
    spot: Spot = False,
    idle: Idle = None,
    ttl: Ttl = None,
    budget: Budget = None,
    max_price: MaxPrice = None,
    start_deadline: StartDeadline = None,
    boot_deadline: BootDeadline = None,
    optimize: OptimizeFor = Optimize.PRICE,
    use: Use = USUAL_USE,
    region: Region = None,
    attempts: Attempts = None,
    retry_until_up: RetryUntilUp = False,
    race: Race = 1,
    budget_group: BudgetGroup = None,
    direct: Direct = False,
    yes: Yes = False,
) -> None:
    """Run a command with OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL of a fresh deployment, then end that.

    Exits with the command's status. stdout is the command's alone.
    """
    import secrets

    from gpu_cli.commands.here import in_budget_group, open_here, the_wanted
    from gpu_cli.commands.tied import tied_deployment

    if shutil.which(command[0]) is None:
        raise UserError(
            Exit.BAD_INPUT, "no-command", f"no command is called {command[0]!r}", hint="nothing was started"
        )
    flags = flags_by_setting(provider, idle, ttl, budget, max_price, start_deadline, boot_deadline)
    unique = f"run-{secrets.token_hex(2)}"
    wanted, only = the_wanted(
        recipe,
        name,
        flags,
        serverless=serverless,
        spot=spot,
        direct=direct,
        tied=True,
        unique=unique,
        yes=yes,
        optimize=optimize,
        use=use,
        region=region,
        attempts=attempts,
        retry_until_up=retry_until_up,
        race=race,
    )
    with open_here() as fleet:
        wanted = in_budget_group(fleet, wanted, budget_group)
        with tied_deployment(fleet, wanted, only) as deployment:
            status = _run_command(fleet, deployment, command)
    raise typer.Exit(status)


def _run_command(fleet: "Fleet", deployment: "Deployment", command: list[str]) -> int:
    """Its exit status, 128 + N when signal N ended it. An interrupt is passed on and waited for."""
    from gpu_cli.commands.here import need_endpoint, openai_variables
    from gpu_cli.commands.stories import gap_in_words

    if gap := gap_in_words(fleet, deployment):
        print_message(gap)
    deployment = need_endpoint(fleet, deployment)
    variables = openai_variables(fleet, deployment)
    process = subprocess.Popen(command, env={**os.environ, **_unproxied(deployment, os.environ), **variables})
    try:
        status = _waited_for(fleet, deployment, process)
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(COMMAND_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return status if status >= 0 else 128 - status


def _waited_for(fleet: "Fleet", deployment: "Deployment", process: "subprocess.Popen[bytes]") -> int:
    """Its status."""
    from gpu_cli.commands.tied import keep_guarded

    while True:
        try:
            return process.wait(GUARD_POLL_S)
        except subprocess.TimeoutExpired:
            keep_guarded(fleet, deployment)


def _unproxied(deployment: "Deployment", environ: Mapping[str, str]) -> dict[str, str]:
    """What keeps clients from asking a proxy for what is on this machine: it would see the key and all prompts."""
    if not deployment.base_url.startswith("http://127.0.0.1:"):
        return {}
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY")
    value = ",".join(filter(None, (excepted, "127.0.0.1")))
    return {"no_proxy": value, "NO_PROXY": value}
