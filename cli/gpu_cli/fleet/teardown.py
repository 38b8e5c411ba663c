"""The end of a deployment: destroyed, and verified gone by the cloud's own word."""

import contextlib
from dataclasses import replace

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import ON_REQUEST, Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.store import StateMoved, StoreCorrupt
from gpu_cli.locks import is_held
from gpu_providers.base import Provider
from gpu_providers.errors import AuthError, InvalidRequest, NotFound, ProviderError, RateLimited

VERIFY_DEADLINE_S = 300.0
LAUNCHER_DEADLINE_S = 120.0


def tear_down(fleet: Fleet, deployment: Deployment, reason: str) -> Deployment:
    """End it and come back when the cloud says that nothing is left. Safe to repeat, and to run twice at once.

    Raises UserError CLEANUP_UNCONFIRMED when the cloud has not said so in time: the guard goes on trying.
    """
    try:
        deployment = _begin(fleet, deployment, reason)
    except (UserError, StoreCorrupt):
        destroy(fleet, deployment)  # a record that cannot be written must not keep it running
        raise
    if deployment.is_live:
        destroy(fleet, deployment)
        deployment = finish(fleet, deployment)
    return deployment


def end_on_request(fleet: Fleet, deployment: Deployment) -> Deployment:
    """`gpu down`: like `tear_down`, and a launch that another process has under way is told and waited for.

    Its create may be on its way to the cloud, which would say until then that there is nothing.
    """
    with contextlib.suppress(UserError, StoreCorrupt):  # `tear_down` ends it all the same, and then says so
        deployment = _begin(fleet, deployment, ON_REQUEST)
    give_up_at = fleet.clock.now() + LAUNCHER_DEADLINE_S
    while not deployment.resource_id and is_held(fleet.launch_lock_path(deployment.name)):
        if fleet.clock.now() >= give_up_at:
            break
        fleet.clock.sleep(0.2)
        deployment = fleet.store.get(deployment.resource_name)
    return tear_down(fleet, deployment, ON_REQUEST)


def destroy(fleet: Fleet, deployment: Deployment) -> None:
    """Until the cloud has no resource of this name. Raises UserError CLEANUP_UNCONFIRMED."""
    give_up_at = fleet.clock.now() + VERIFY_DEADLINE_S
    last_word = "it still exists"
    while fleet.clock.now() < give_up_at:
        pause_s = 1.0
        try:
            provider = fleet.provider(deployment.provider)
            pause_s = provider.poll_interval_s
            if _is_gone(provider, deployment, fleet.clock.now()):
                return
        except RateLimited as error:
            pause_s, last_word = error.retry_after_s, error.message
        except (AuthError, InvalidRequest) as error:  # asking again would be answered the same
            last_word = error.message
            break
        except ProviderError as error:
            last_word = error.message
        fleet.clock.sleep(pause_s)
    raise UserError(
        Exit.CLEANUP_UNCONFIRMED,
        "cleanup-unconfirmed",
        f"{deployment.name} is not confirmed gone: {last_word}",
        hint=f"look for {deployment.resource_name} at {deployment.provider}; to try again: gpu down {deployment.name}",
        still_billing=[deployment.resource_name],
    )


def finish(fleet: Fleet, deployment: Deployment, *, reason: str = "") -> Deployment:
    """Write down that it is gone; the caller has the cloud's word for it. `reason` is for one that ended by itself."""
    now, ended = fleet.clock.now(), replace(deployment, reason=reason or deployment.reason)
    try:
        deployment = fleet.store.move(
            deployment, ended.end_state(), at=now, ended_at=now, reason=ended.reason, note=reason
        )
    except StateMoved as moved:
        return finish(fleet, moved.actual, reason=reason) if moved.actual.is_live else moved.actual
    fleet.keys.forget(deployment.resource_name)
    return deployment


def _begin(fleet: Fleet, deployment: Deployment, reason: str) -> Deployment:
    """Mark it as being destroyed, whatever state others have moved it to meanwhile."""
    while deployment.is_live and deployment.state is not State.TERMINATING:
        try:
            return fleet.store.move(deployment, State.TERMINATING, at=fleet.clock.now(), reason=reason, note=reason)
        except StateMoved as moved:
            deployment = moved.actual
    return deployment


def _is_gone(provider: Provider, deployment: Deployment, now: float) -> bool:
    """Ask for its end, then look. The id may never have reached us: then the name is searched for, for as long as the
    cloud may not know yet what it has made.
    """
    resource_id = deployment.resource_id
    if not resource_id:
        found = provider.find(deployment.resource_name)
        if found is None:
            return now >= (deployment.launched_at or 0.0) + provider.list_lag_s
        resource_id = found.resource_id
    provider.terminate(resource_id)
    try:
        provider.describe(resource_id)
    except NotFound:
        return True
    return False
