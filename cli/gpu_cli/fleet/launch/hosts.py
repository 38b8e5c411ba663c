"""Machines that did not come up: they are left alone for a while, whoever watched their start."""

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet

AVOIDED_S = 2700.0
"""So that the next launch does not get the same broken machine; no longer, since where a cloud tells machines apart by
type and region only, this may be all that it has."""


def avoid_host_of(fleet: Fleet, deployment: Deployment, reason: str) -> None:
    """Order nothing on its machine for a while; nothing to do where the cloud does not tell machines apart."""
    if deployment.host:
        until = fleet.clock.now() + AVOIDED_S
        fleet.store.avoid_host(deployment.provider, deployment.host, until=until, reason=reason)
