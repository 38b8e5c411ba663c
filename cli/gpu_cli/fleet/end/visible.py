"""When a cloud's word that there is nothing may be believed."""

import contextlib

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment, State
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.store import StoreCorrupt
from gpu_providers.base import Provider


def visible_at(fleet: Fleet, provider: Provider, deployment: Deployment) -> float:
    """Until then its cloud may not show it, although it has accepted it: what it does not show is not gone.

    What was ready has been seen. A record that cannot be read must not keep anything from being ended.
    """
    if deployment.ready_at is not None:
        return 0.0
    accepted_at = deployment.launched_at or 0.0
    with contextlib.suppress(UserError, StoreCorrupt):  # a create may have taken long, so that it counts from its end
        events = fleet.store.events(deployment.resource_name)
        accepted_at = max([accepted_at, *(event.at for event in events if event.state is State.BOOTING)])
    return accepted_at + provider.list_lag_s
