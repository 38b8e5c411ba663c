"""The start of a deployment that has been launched: until it is ready and its stops are confirmed, or gone again."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_cli.config.keys import BOOT_DEADLINE
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import STARTING, Deployment, State
from gpu_cli.fleet.end.teardown import destroy, tear_down
from gpu_cli.fleet.end.visible import visible_at
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard
from gpu_cli.fleet.interrupt import shielded
from gpu_cli.fleet.launch.confirm import confirm_own_stop
from gpu_cli.fleet.launch.connection import Connection
from gpu_cli.fleet.launch.health import NotHealthy, Start, wait_until_healthy
from gpu_cli.fleet.launch.hosts import avoid_host_of
from gpu_cli.fleet.launch.policy import failure_of
from gpu_cli.fleet.reach.link import await_forwarder
from gpu_cli.fleet.store import StateMoved, StoreCorrupt
from gpu_cli.ui.progress import Progress
from gpu_providers.base import Kind, Provider
from gpu_providers.errors import CommandCrashed, HostFailed, ProviderError


def watch_start(
    fleet: Fleet,
    deployment: Deployment,
    progress: Progress,
    *,
    tied: bool,
    boot_deadline_s: float = BOOT_DEADLINE.default,
) -> Deployment:
    """See a launched deployment through to ready, or tear it down and raise the UserError that says why.

    Raises HostFailed, CommandCrashed or InvalidRequest, torn down as well, when it is for the caller to say what next.
    """
    with cleaned_up(fleet, deployment, progress):
        return _until_ready(fleet, deployment, progress, tied=tied, boot_deadline_s=boot_deadline_s)


def log_path(fleet: Fleet, deployment: Deployment) -> Path:
    """Where the log of a deployment that failed is kept: its own machine's copy ends with the machine."""
    return fleet.paths.state / "logs" / f"{deployment.resource_name}.log"


def _until_ready(
    fleet: Fleet, deployment: Deployment, progress: Progress, *, tied: bool, boot_deadline_s: float
) -> Deployment:
    provider, name = fleet.provider(deployment.provider), deployment.resource_name
    key = fleet.key_of(deployment)
    if key is None:
        raise UserError(Exit.NEVER_HEALTHY, "no-key", f"the API key of {deployment.name} is not on this machine")
    with Connection(fleet, deployment, key) as connection:
        start = Start(
            provider=provider,
            resource_id=deployment.resource_id,
            connection=connection,
            model=deployment.model,
            deadline_at=deployment.start_deadline_at,
            boot_deadline_s=boot_deadline_s,
            clock=fleet.clock,
            progress=progress,
            check_still_wanted=lambda: still_wanted(fleet, name),
            visible_at=visible_at(fleet, provider, deployment),
            engine_runs=lambda: _loading(fleet, name),
            on_rate=lambda usd_per_hour: fleet.store.meter(name, usd_per_hour, at=fleet.clock.now()),
            on_request=deployment.kind is Kind.SERVERLESS,
        )
        try:
            client = wait_until_healthy(start)
        except (NotHealthy, ProviderError) as error:
            _keep_log(fleet, provider, deployment)
            still_wanted(fleet, name)  # what someone has ended is no failure of its host
            if isinstance(error, NotHealthy):
                raise error.for_the_user(f"log: {log_path(fleet, deployment)}") from error
            if isinstance(error, HostFailed | CommandCrashed):
                avoid_host_of(fleet, deployment, error.message)
            raise
        progress.stage("stops")
        armed = confirm_own_stop(fleet, client, deployment, progress)
    ensure_guard(fleet)
    await_forwarder(fleet, deployment)
    return _ready(fleet, still_wanted(fleet, name), tied=tied, armed=armed)


def _ready(fleet: Fleet, deployment: Deployment, *, tied: bool, armed: bool) -> Deployment:
    """Another process may have watched the same start (`gpu wait` beside the guard): the first one wins."""
    if deployment.state is State.BOOTING:
        deployment = advance(fleet, deployment, State.LOADING)
    if deployment.state is State.READY:
        return deployment
    now = fleet.clock.now()
    return advance(fleet, deployment, State.READY, ready_at=now, active_at=now, own_stop_armed=armed, tied=tied)


def _loading(fleet: Fleet, name: str) -> None:
    deployment = fleet.store.get(name)
    if deployment.state is State.BOOTING:
        advance(fleet, deployment, State.LOADING)


def advance(fleet: Fleet, deployment: Deployment, to: State, **changes: Any) -> Deployment:
    """One step towards ready, unless another process took it, or ended the deployment (UserError)."""
    try:
        return fleet.store.move(deployment, to, at=fleet.clock.now(), **changes)
    except StateMoved:
        return still_wanted(fleet, deployment.resource_name)


def still_wanted(fleet: Fleet, name: str) -> Deployment:
    """Raises UserError when someone (`gpu down`, the guard) is ending it or has ended it."""
    deployment = fleet.store.get(name)
    if deployment.state in STARTING or deployment.state is State.READY:
        return deployment
    limit = deployment.reason in ("deadline", "budget")
    status = Exit.LIMIT_REACHED if limit else Exit.NEVER_HEALTHY
    why = deployment.reason or str(deployment.state)
    raise UserError(status, "ended-while-starting", f"{deployment.name} was ended while it was starting ({why})")


@dataclass
class Known:
    """What this process knows of a deployment by now: the store may know less, or more."""

    deployment: Deployment


@contextlib.contextmanager
def cleaned_up(fleet: Fleet, deployment: Deployment, progress: Progress) -> Iterator[Known]:
    """Whatever goes wrong inside, Ctrl-C included: nothing is left running. What is learnt inside goes to `Known`."""
    known = Known(deployment)
    try:
        yield known
    except BaseException as error:
        with shielded():
            _record_failure(fleet, known.deployment, error)
            _clean_up(fleet, known.deployment, _why(error), progress)
        raise


def _record_failure(fleet: Fleet, known: Deployment, error: BaseException) -> None:
    """For those who learn from it. What cannot be written must not keep us from what comes next."""
    if failure := failure_of(error):
        with contextlib.suppress(UserError, StoreCorrupt):
            fleet.store.update(known.resource_name, failure=failure.word)


def _clean_up(fleet: Fleet, known: Deployment, why: str, progress: Progress) -> None:
    recorded = _as_recorded(fleet, known)
    if recorded.is_live:
        with contextlib.suppress(OSError):  # nobody may be reading any more
            progress.note(f"ending {recorded.name}: {recorded.reason or why}")
        tear_down(fleet, recorded, why)
    elif known.state is State.LAUNCHING:  # others wrote it off while its create was still under way
        destroy(fleet, known)


def _as_recorded(fleet: Fleet, known: Deployment) -> Deployment:
    """What the store knows by now; a store that fails must not keep us from destroying what we know ourselves."""
    with contextlib.suppress(UserError, StoreCorrupt):
        recorded = fleet.store.get(known.resource_name)
        return replace(recorded, resource_id=recorded.resource_id or known.resource_id)
    return known


def _why(error: BaseException) -> str:
    if isinstance(error, UserError):
        return f"{error.code}: {error.message}"
    if isinstance(error, ProviderError):
        return error.message
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def _keep_log(fleet: Fleet, provider: Provider, deployment: Deployment) -> None:
    path = log_path(fleet, deployment)
    try:
        lines = list(provider.logs(deployment.resource_id))
    except ProviderError as error:
        lines = [f"the log could not be read: {error}"]
    with contextlib.suppress(OSError):  # a full disk: the failure itself is what the user has to hear of
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("\n".join(lines) + "\n")
