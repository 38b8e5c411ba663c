"""`gpu wait`: until a deployment is ready."""

from typing import Annotated

import typer

from gpu_cli.commands.options import AsJson, DeploymentName
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import Result, show

POLL_S = 0.3


def wait(
    name: DeploymentName = None,
    timeout: Annotated[str, typer.Option("--timeout", help="Give up waiting after so long; it goes on.")] = "1h",
    as_json: AsJson = False,
) -> None:
    """Wait until a deployment is ready, and print its base_url; also while its launch is still choosing an offer."""
    from gpu_cli.commands.documents import deployment_with_stops
    from gpu_cli.commands.here import need_endpoint, open_here, the_deployment
    from gpu_cli.fleet.deployment import STARTING, State
    from gpu_cli.fleet.guard.process import ensure_guard
    from gpu_cli.locks import is_held

    with open_here() as fleet:
        give_up_at = fleet.clock.now() + _seconds(timeout)
        while name and not fleet.store.find_live(name) and is_held(fleet.launch_lock_path(name)):
            if fleet.clock.now() >= give_up_at:
                raise _still_starting(f"{name} is still being launched", timeout)
            fleet.clock.sleep(POLL_S)
        deployment = the_deployment(fleet, name)
        while deployment.state in STARTING:
            ensure_guard(fleet)  # it sees detached starts through
            if fleet.clock.now() >= give_up_at:
                raise _still_starting(f"{deployment.name} is still {deployment.state}", timeout)
            fleet.clock.sleep(POLL_S)
            deployment = fleet.store.get(deployment.resource_name)
        if deployment.state is not State.READY:
            message = f"{deployment.name} did not become ready: {deployment.reason or deployment.state}"
            hint = f"see its log: gpu logs {deployment.name}"
            raise UserError(Exit.NEVER_HEALTHY, "not-ready", message, hint=hint)
        deployment = need_endpoint(fleet, deployment)
        document = deployment_with_stops(fleet, deployment)
    show(Result(document, stdout=deployment.base_url), as_json=as_json)


def _still_starting(what: str, timeout: str) -> UserError:
    hint = "it goes on starting; wait again"
    return UserError(Exit.NEVER_HEALTHY, "still-starting", f"{what} after {timeout}", hint=hint)


def _seconds(timeout: str) -> float:
    from gpu_cli.units import parse_duration

    try:
        return parse_duration(timeout)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, "usage", f"--timeout: {error}") from None
