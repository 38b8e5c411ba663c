"""Reaching a deployment's endpoint: directly, or over TLS with its own certificate through the guard's forwarder."""

import socket

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.engine_client import EngineClient
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard_process import ensure_guard, guard_log_path
from gpu_providers.base import Link, Secret

FORWARDER_DEADLINE_S = 60.0
"""The guard may be waiting for a cloud that is slow to answer; it forwards with its next turn."""
POLL_S = 0.1


def reached_at(link: Link, endpoint: str) -> str:
    """An endpoint as a provider tells it, as the URL by which it is reached: a bare port speaks TLS."""
    return endpoint.replace("http://", "https://", 1) if link is Link.TLS else endpoint


def client_for(fleet: Fleet, deployment: Deployment, key: Secret) -> EngineClient:
    """A client of its engine, without a forwarder. Raises UserError when its certificate is not on this machine."""
    certificate = None
    if deployment.link is Link.TLS:
        _check_certificate(fleet, deployment)
        certificate = fleet.certificates.path(deployment.resource_name)
    return EngineClient(reached_at(deployment.link, deployment.endpoint), key, certificate=certificate)


def await_forwarder(fleet: Fleet, deployment: Deployment) -> Deployment:
    """The deployment with a `base_url` that answers: for one over TLS, when the guard forwards to it.

    Raises UserError NEVER_HEALTHY when that does not come about, CREDENTIALS without its certificate.
    """
    if deployment.link is not Link.TLS:
        return deployment
    _check_certificate(fleet, deployment)
    # A guard that is at work listens at the ports on record: whatever else answers at an old one is not taken for it.
    ensure_guard(fleet)
    give_up_at = fleet.clock.now() + FORWARDER_DEADLINE_S
    while not _answers((deployment := fleet.store.get(deployment.resource_name)).local_port):
        if fleet.clock.now() >= give_up_at or not deployment.is_live:
            message = f"the guard does not forward to {deployment.name}, which is {deployment.state}"
            hint = f"see {guard_log_path(fleet.paths)}"
            raise UserError(Exit.NEVER_HEALTHY, "no-forwarder", message, hint=hint)
        fleet.clock.sleep(POLL_S)
    return deployment


def _check_certificate(fleet: Fleet, deployment: Deployment) -> None:
    if fleet.certificates.path(deployment.resource_name).is_file():
        return
    message = f"the certificate of {deployment.name} is not on this machine"
    raise UserError(Exit.CREDENTIALS, "no-certificate", message, hint="it is on the machine from which it was launched")


def _answers(port: int | None) -> bool:
    if port is None:
        return False
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
