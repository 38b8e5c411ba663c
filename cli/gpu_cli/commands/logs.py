"""`gpu logs`: what the engine and its supervisor said."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import DeploymentName
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import print_line

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet


def logs(
    name: DeploymentName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last so many lines.")] = None,
) -> None:
    """Print the log of a deployment, also of one that has ended."""
    from gpu_cli.commands.here import no_such, open_here, the_deployment

    with open_here() as fleet:
        deployment = the_deployment(fleet, None) if name is None else fleet.store.last_named(name)
        if deployment is None:
            raise no_such(fleet, name or "")
        for line in _lines(fleet, deployment, tail, follow):
            print_line(line)


def _lines(fleet: "Fleet", deployment: "Deployment", tail: int | None, follow: bool) -> Iterator[str]:
    """From its provider, or what was kept of it when it failed."""
    from gpu_cli.fleet.launch.start import log_path
    from gpu_providers.errors import NotFound, ProviderError

    try:
        yield from fleet.provider(deployment.provider).logs(deployment.resource_id, tail=tail, follow=follow)
    except NotFound as error:
        kept = log_path(fleet, deployment)
        if not kept.exists():
            message = f"no log of {deployment.name} is left"
            raise UserError(Exit.NO_SUCH_DEPLOYMENT, "no-log", message) from error
        lines = kept.read_text(errors="replace").splitlines()
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
    except ProviderError as error:
        raise UserError(Exit.LAUNCH_FAILED, "no-answer", error.message, hint=error.hint) from error
