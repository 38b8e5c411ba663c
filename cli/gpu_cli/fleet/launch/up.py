"""`gpu up` as a whole: find what runs already, or plan and launch."""

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import STARTING, Deployment, State
from gpu_cli.fleet.end.reconcile import look, why_end
from gpu_cli.fleet.end.spot import spot_recipes
from gpu_cli.fleet.end.teardown import tear_down
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard
from gpu_cli.fleet.launch.called_off import begin_launch
from gpu_cli.fleet.launch.launch import Wanted
from gpu_cli.fleet.launch.policy import Attempt
from gpu_cli.fleet.launch.rounds import launch_in_rounds
from gpu_cli.fleet.launch.start import watch_start
from gpu_cli.fleet.reach.link import await_forwarder
from gpu_cli.locks import Lock
from gpu_cli.ui.progress import Progress
from gpu_providers.errors import CommandCrashed, HostFailed, InvalidRequest

WAIT_S = 0.3
OTHERS_DEADLINE_S = 4 * 3600.0
"""Another process's launch is waited for; it has deadlines of its own, and this is beyond them."""


def bring_up(
    fleet: Fleet, wanted: Wanted, lock: Lock, *, provider: str | None, progress: Progress, tried: list[Attempt]
) -> Deployment:
    """A deployment of this name and recipe: the running one, or a new one. `lock` is the name's launch lock.

    When it comes back with `lock` acquired, the caller releases it. Of two calls at once, one launches and the other
    waits for it. `tried` gets all that is ordered on the way, also when it ends in an error. Raises UserError.
    """
    running = _wait_for_others(fleet, wanted, lock, progress) or _resume(fleet, wanted, progress)
    if running is not None:
        return await_forwarder(fleet, running) if running.state is State.READY else running
    try:
        return launch_in_rounds(fleet, wanted, provider, progress, tried)
    finally:
        spot_recipes(fleet).forget_recipe(wanted.recipe.path)  # that of one in whose place this one comes


def _wait_for_others(fleet: Fleet, wanted: Wanted, lock: Lock, progress: Progress) -> Deployment | None:
    """Until the lock is ours (None) or the deployment that its holder made is ready."""
    give_up_at = fleet.clock.now() + OTHERS_DEADLINE_S
    while not lock.try_acquire():
        running = fleet.store.find_live(wanted.name)
        if running is not None:
            _check_same(running, wanted)
            if running.state is State.READY and not running.tied:  # a tied one may be checked yet, and ended for it
                return running
        progress.stage("waiting")
        progress.detail(f"another gpu is launching {wanted.name}")
        if fleet.clock.now() >= give_up_at:
            raise UserError(Exit.LAUNCH_FAILED, "still-launching", f"another gpu is still launching {wanted.name}")
        fleet.clock.sleep(WAIT_S)
    begin_launch(fleet, wanted.name)
    return None


def _resume(fleet: Fleet, wanted: Wanted, progress: Progress) -> Deployment | None:
    """The living deployment of this name, if it can be had; what is left of a broken one is cleared away."""
    deployment = fleet.store.find_live(wanted.name)
    if deployment is None:
        return None
    deployment, resource = look(fleet, deployment)
    if not deployment.is_live:
        return None
    # This process holds the launch lock now, so that a start tied to a killed launcher can be taken over.
    if reason := why_end(fleet, deployment, resource):
        progress.stage("clearing")
        tear_down(fleet, deployment, reason)
        return None
    _check_same(deployment, wanted)
    if deployment.state in STARTING and not deployment.resource_id:
        tear_down(fleet, deployment, "its launch was cut short")
        return None
    ensure_guard(fleet)
    if deployment.state in STARTING and wanted.wait:
        return _taken_over(fleet, wanted, deployment, progress)
    return deployment


def _taken_over(fleet: Fleet, wanted: Wanted, deployment: Deployment, progress: Progress) -> Deployment | None:
    """A start that another process began, seen through; None when its machine failed: another one may do."""
    try:
        boot_deadline_s = wanted.limits.boot_deadline_s
        return watch_start(fleet, deployment, progress, tied=wanted.tied, boot_deadline_s=boot_deadline_s)
    except (HostFailed, CommandCrashed):  # it is gone, and its end was told
        return None
    except InvalidRequest as error:
        raise UserError(Exit.BAD_INPUT, "refused", error.message, hint=error.hint) from error


def _check_same(running: Deployment, wanted: Wanted) -> None:
    if running.recipe_digest == wanted.recipe.digest():
        return
    raise UserError(
        Exit.BAD_INPUT,
        "name-taken",
        f"{wanted.name} is running already, from another recipe ({running.recipe})",
        hint=f"take it down (gpu down {wanted.name}), or choose another name (--name)",
    )
