"""What a deployment's engine and supervisor have said."""

from collections.abc import Callable, Iterator

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_providers.errors import NotFound, ProviderError


def log_lines(
    fleet: Fleet,
    deployment: Deployment,
    *,
    tail: int | None,
    follow: bool,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """From its provider, or what was kept of it when it failed; with `follow` until it ends, or `stop()`.

    Raises UserError NO_SUCH_DEPLOYMENT where nothing is left, LAUNCH_FAILED where its provider does not answer.
    """
    try:
        cloud = fleet.provider(deployment.provider)
        yield from cloud.logs(deployment.resource_id, tail=tail, follow=follow, stop=stop)
    except NotFound as error:
        from gpu_cli.fleet.launch.start import log_path  # with it comes all of a launch

        kept = log_path(fleet, deployment)
        if not kept.exists():
            message = f"no log of {deployment.name} is left"
            raise UserError(Exit.NO_SUCH_DEPLOYMENT, "no-log", message) from error
        lines = kept.read_text(errors="replace").splitlines()
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
    except ProviderError as error:
        raise UserError(Exit.LAUNCH_FAILED, "no-answer", error.message, hint=error.hint) from error
