"""Creating a resource, also when the cloud's answer is lost: what may exist is looked for before anything else."""

from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.launch.start import still_wanted
from gpu_providers.base import LaunchRequest, Provider, Resource
from gpu_providers.errors import CreateUnknown, ProviderError, ProviderUnavailable, RateLimited

MOST_TRIES = 3
"""Of a create that the cloud was too busy for."""
LONGEST_PAUSE_S = 60.0


def create(fleet: Fleet, provider: Provider, request: LaunchRequest) -> Resource:
    """The resource of a deployment that is on record.

    Raises ProviderError; after any but CreateUnknown the cloud has nothing of that name. Raises UserError when someone
    has ended the deployment while the cloud was too busy to make it.
    """
    try:
        return _launch(fleet, provider, request)
    except CreateUnknown as unknown:
        found = _look_for(fleet, provider, request.name, unknown)
        if found is None:
            raise ProviderUnavailable(f"{unknown.message}; nothing was made", hint="try again later") from unknown
        return found


def _launch(fleet: Fleet, provider: Provider, request: LaunchRequest) -> Resource:
    for _ in range(MOST_TRIES - 1):
        try:
            return provider.launch(request)
        except RateLimited as error:
            if error.retry_after_s > LONGEST_PAUSE_S:
                raise
            fleet.clock.sleep(error.retry_after_s)
            still_wanted(fleet, request.name)
    return provider.launch(request)


def _look_for(fleet: Fleet, provider: Provider, name: str, unknown: CreateUnknown) -> Resource | None:
    """For as long as the cloud's lists may lag. Raises `unknown` when the cloud never answered after that."""
    settled_at = fleet.clock.now() + provider.list_lag_s
    answered_last = False
    while True:
        is_settled = fleet.clock.now() >= settled_at
        try:
            if found := provider.find(name):
                return found
            answered_last = True
        except ProviderError:
            answered_last = False
        if is_settled:
            break
        fleet.clock.sleep(min(provider.poll_interval_s, max(0.1, provider.list_lag_s)))
    if not answered_last:
        raise unknown
    return None
