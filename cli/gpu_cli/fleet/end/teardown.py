"""The end of a deployment: destroyed, and verified gone by the cloud's own word."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import ON_REQUEST, Deployment, State
from gpu_cli.fleet.end.spot import TAKEN_BACK, spot_recipes
from gpu_cli.fleet.end.visible import visible_at
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.money.metering import ends_itself_by, told_usd_per_hour
from gpu_cli.fleet.store import StateMoved, StoreCorrupt
from gpu_cli.locks import is_held
from gpu_providers.base import Kind, Provider, Resource
from gpu_providers.errors import AuthError, InvalidRequest, NotFound, ProviderError, RateLimited

VERIFY_DEADLINE_S = 300.0
LAUNCHER_DEADLINE_S = 120.0
LONGEST_PAUSE_S = 60.0
"""However much patience the cloud asks for: it bills meanwhile."""


@dataclass
class _Traces:
    """What the cloud has shown of a resource name so far, by id."""

    gone: set[str]
    """It has let go of them."""
    meter: Callable[[Resource], object]
    """Told of what is still there: it bills until it has ended."""
    seen: set[str] = field(default_factory=set)


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
        _look_once_more(fleet, deployment)
        if not destroy(fleet, deployment, is_over=lambda: _is_on_record_as_gone(fleet, deployment.resource_name)):
            _cost_nothing(fleet, deployment)
        deployment = finish(fleet, deployment)
    return deployment


def end_on_request(fleet: Fleet, deployment: Deployment) -> Deployment:
    """`gpu down`: like `tear_down`, and a launch that another process has under way is told and waited for.

    Its create may be on its way to the cloud, which would say until then that there is nothing. One that its cloud is
    taking back is not replaced.
    """
    with contextlib.suppress(UserError, StoreCorrupt, OSError):  # `tear_down` ends it all the same, and then says so
        spot_recipes(fleet).forget(deployment.resource_name)
        deployment = _begin(fleet, deployment, ON_REQUEST)
    give_up_at = fleet.clock.now() + LAUNCHER_DEADLINE_S
    while not deployment.resource_id and is_held(fleet.launch_lock_path(deployment.name)):
        if fleet.clock.now() >= give_up_at:
            break
        fleet.clock.sleep(0.2)
        deployment = fleet.store.get(deployment.resource_name)
    return tear_down(fleet, deployment, ON_REQUEST)


def destroy(
    fleet: Fleet,
    deployment: Deployment,
    *,
    sparing: Iterable[str] = (),
    is_over: Callable[[], bool] = lambda: False,
) -> bool:
    """Until the cloud has no resource of this name, but for those with an id in `sparing`, or it `is_over` already.

    False when there never was one, as far as the cloud knows: then nothing was spent. Raises UserError
    CLEANUP_UNCONFIRMED.
    """
    if deployment.launched_at is None and not deployment.resource_id:
        return False  # nothing has been asked of the cloud
    began_at, last_word = fleet.clock.now(), "it still exists"
    traces = _Traces(set(sparing), lambda resource: _meter(fleet, deployment, resource))
    while fleet.clock.now() < began_at + VERIFY_DEADLINE_S:
        if is_over():
            return True
        pause_s = 1.0
        try:
            provider = fleet.provider(deployment.provider)
            pause_s = provider.poll_interval_s
            deployment = recognised(provider, deployment)
            # A create may have been on its way until now, whenever it was launched.
            settled = fleet.clock.now() >= began_at + provider.list_lag_s
            hidden = fleet.clock.now() < visible_at(fleet, provider, deployment)
            if _is_gone(provider, deployment, traces, settled=settled, hidden=hidden):
                return bool(traces.gone or deployment.resource_id)
        except RateLimited as error:
            pause_s, last_word = max(pause_s, min(error.retry_after_s, LONGEST_PAUSE_S)), error.message
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


def recognised(provider: Provider, deployment: Deployment) -> Deployment:
    """As one of the account that is asked now, when that sees it: a key may have been exchanged for a new one.

    Raises AuthError when it does not: another account's word that there is nothing says nothing.
    """
    account = provider.account()
    if deployment.account in ("", account):
        return deployment
    with contextlib.suppress(NotFound):
        if deployment.resource_id and provider.describe(deployment.resource_id):
            return replace(deployment, account=account)
    message = f"{deployment.name} was launched with other credentials of {provider.name}, and these do not show it"
    raise AuthError(message, hint="use those again")


def finish(fleet: Fleet, deployment: Deployment, *, reason: str = "") -> Deployment:
    """Write down that it is gone; the caller has the cloud's word for it. `reason` is for one that ended by itself.

    To who looks at the wrong moment, one that another process is ending has: whoever ends it has written down why.
    """
    now, by_itself = fleet.clock.now(), deployment.state is not State.TERMINATING
    note = reason if by_itself else ""
    ended = replace(deployment, reason=note or deployment.reason)
    ended_at = min(now, max(ends_itself_by(ended), ended.metered_until(0.0))) if by_itself else now
    _forget(fleet, deployment)  # while it is on record as not gone: a kill in between means once more
    try:
        deployment = fleet.store.move(
            deployment, ended.end_state(), at=now, ended_at=ended_at, reason=ended.reason, note=note
        )
    except StateMoved as moved:
        return finish(fleet, moved.actual, reason=reason) if moved.actual.is_live else moved.actual
    if not deployment.reason.startswith(TAKEN_BACK):  # else it may have to be launched again
        spot_recipes(fleet).forget(deployment.resource_name)
    return deployment


def _forget(fleet: Fleet, deployment: Deployment) -> None:
    """Drop what is kept beside the record for what is gone."""
    fleet.keys.forget(deployment.resource_name)
    fleet.certificates.forget(deployment.resource_name)
    with contextlib.suppress(ProviderError):
        fleet.provider(deployment.provider).forget(deployment.resource_name)


def _look_once_more(fleet: Fleet, deployment: Deployment) -> None:
    """What it bills is asked where that is not its price: nobody can tell once it has ended. No answer keeps nobody
    from ending it.
    """
    steady = deployment.kind is not Kind.SERVERLESS and deployment.rate_usd_per_hour == deployment.price_usd_per_hour
    if steady or not deployment.resource_id or deployment.price_usd_per_hour <= 0:
        return
    with contextlib.suppress(ProviderError):
        _meter(fleet, deployment, fleet.provider(deployment.provider).describe(deployment.resource_id))


def _meter(fleet: Fleet, deployment: Deployment, resource: Resource) -> None:
    """Put on record what it bills. Of a second one of its name nothing is: one record has one rate."""
    usd_per_hour = told_usd_per_hour(deployment, resource)
    with contextlib.suppress(KeyError, UserError, StoreCorrupt):  # what cannot be written must not keep it running
        recorded = fleet.store.get(deployment.resource_name)
        if usd_per_hour is not None and recorded.resource_id in ("", resource.resource_id):
            fleet.store.meter(recorded.resource_name, usd_per_hour, at=fleet.clock.now())


def _cost_nothing(fleet: Fleet, deployment: Deployment) -> None:
    """To its cloud it never was; nor has anybody else seen it meanwhile."""
    recorded = fleet.store.get(deployment.resource_name)
    if not recorded.resource_id and recorded.metered_at is None:
        fleet.store.update(recorded.resource_name, launched_at=None)


def _is_on_record_as_gone(fleet: Fleet, resource_name: str) -> bool:
    """Another process may have ended it first, and only who has seen it there can see that it is gone."""
    with contextlib.suppress(KeyError, UserError, StoreCorrupt, OSError):
        return not fleet.store.get(resource_name).is_live
    return False


def _begin(fleet: Fleet, deployment: Deployment, reason: str) -> Deployment:
    """Mark it as being destroyed, whatever state others have moved it to meanwhile."""
    while deployment.is_live and deployment.state is not State.TERMINATING:
        try:
            return fleet.store.move(deployment, State.TERMINATING, at=fleet.clock.now(), reason=reason, note=reason)
        except StateMoved as moved:
            deployment = moved.actual
    return deployment


def _is_gone(provider: Provider, deployment: Deployment, traces: _Traces, *, settled: bool, hidden: bool) -> bool:
    """Ask for the end of all that has its name, then look.

    The id may never have reached us: then the name is searched for, until the cloud's lists have `settled`. What it
    may not show yet is `hidden`.
    """
    gone, resource_id = traces.gone, deployment.resource_id or None
    if not resource_id or resource_id in gone:
        resource_id = _another(provider, deployment.resource_name, gone)
    while resource_id:
        if not _has_ended(provider, resource_id, traces, hidden=hidden):
            return False
        gone.add(resource_id)
        resource_id = _another(provider, deployment.resource_name, gone)
    return bool(gone) or settled


def _another(provider: Provider, name: str, gone: set[str]) -> str | None:
    """The id of what the cloud lists under this name, without those that it has let go of: lists are slow to forget.

    There may be a second one: names are not unique everywhere, and a create may be carried out twice on its way. When
    one was found and ended, a list that cannot be had is no reason to doubt that.
    """
    try:
        found = provider.find(name)
    except ProviderError:
        if not gone:
            raise
        return None
    return found.resource_id if found and found.resource_id not in gone else None


def _has_ended(provider: Provider, resource_id: str, traces: _Traces, *, hidden: bool) -> bool:
    """Whatever the answer to the request is: what counts is whether it is still there.

    To a cloud that does not show it yet the request means nothing, and `terminate` calls that success: only what was
    seen there can be seen to be gone.
    """
    seen = traces.seen
    if hidden and resource_id not in seen:
        with contextlib.suppress(ProviderError):
            seen.add(provider.describe(resource_id).resource_id)
    refusal: ProviderError | None = None
    try:
        provider.terminate(resource_id)
    except ProviderError as error:
        refusal = error
    try:
        traces.meter(provider.describe(resource_id))
    except NotFound:
        return not hidden or resource_id in seen
    seen.add(resource_id)
    if refusal:
        raise refusal
    return False
