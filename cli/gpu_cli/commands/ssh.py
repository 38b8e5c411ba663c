"""`gpu ssh`: a shell on a deployment's machine, or one command there."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import DeploymentName
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.fleet.fleet import Fleet
    from gpu_providers.base import SshLogin


def ssh(
    name: DeploymentName = None,
    command: Annotated[list[str] | None, typer.Argument(help="After --: a line for the machine's shell.")] = None,
) -> None:
    """Log in to the machine of a deployment, or run one command there and exit with its status."""
    from gpu_cli.commands.here import open_here, the_deployment
    from gpu_cli.fleet.reach.ssh_command import SSH, ssh_command

    with open_here() as fleet:
        login = _login(fleet, the_deployment(fleet, name))
    if shutil.which(SSH) is None:
        message = "there is no program `ssh` on this machine"
        raise UserError(Exit.BAD_INPUT, "no-ssh-program", message, hint="install OpenSSH's client")
    terminal = ("RequestTTY=yes",) if sys.stdin.isatty() and sys.stdout.isatty() else ()
    os.execvp(SSH, ssh_command(login, *terminal, remote=command or ()))  # noqa: S606 - no shell is what is wanted


def _login(fleet: "Fleet", deployment: "Deployment") -> "SshLogin":
    """Raises UserError: it has no SSH server, or none yet, or its key is elsewhere."""
    from gpu_cli.fleet.deployment import STARTING
    from gpu_cli.fleet.reach.link import login_of, not_here
    from gpu_providers.base import Kind

    if login := login_of(fleet, deployment):
        return login
    if deployment.kind is not Kind.VM:
        message = f"{deployment.name} has no SSH server: at {deployment.provider} it is a {deployment.kind}"
        raise UserError(Exit.BAD_INPUT, "no-ssh", message, hint=f"what it says: gpu logs {deployment.name}")
    if deployment.state in STARTING:
        message = f"the machine of {deployment.name} has no address yet: it is {deployment.state}"
        raise UserError(Exit.NEVER_HEALTHY, "not-ready", message, hint=f"wait for it: gpu wait {deployment.name}")
    raise not_here("ssh-key", "the SSH key of", deployment)
