"""`gpu logs`: what the engine and its supervisor said."""

from typing import Annotated

import typer

from gpu_cli.commands.options import DeploymentName
from gpu_cli.ui.output import print_line


def logs(
    name: DeploymentName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last so many lines.")] = None,
) -> None:
    """Print the log of a deployment, also of one that has ended."""
    from gpu_cli.commands.here import no_such, open_here, the_deployment
    from gpu_cli.fleet.log_lines import log_lines

    with open_here() as fleet:
        deployment = the_deployment(fleet, None) if name is None else fleet.store.last_named(name)
        if deployment is None:
            raise no_such(fleet, name or "")
        for line in log_lines(fleet, deployment, tail=tail, follow=follow):
            print_line(line)
