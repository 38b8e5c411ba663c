"""Reaching a deployment's endpoint: directly, over TLS with its own certificate, or through its machine's SSH server.

Users reach the last two through the guard's forwarder.
"""

import socket

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.process import ensure_guard, guard_log_path
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineUnreachable
from gpu_providers.base import Link, Secret, SshLogin
from gpu_providers.errors import ProviderError

FORWARDER_DEADLINE_S = 60.0
"""The guard may be waiting for a cloud that is slow to answer; it forwards with its next turn."""
POLL_S = 0.1


def reached_at(link: Link, endpoint: str) -> str:
    """An endpoint as a provider tells it, as the URL by which it is reached: a bare port speaks TLS."""
    return endpoint.replace("http://", "https://", 1) if link is Link.TLS else endpoint


def engine_url(deployment: Deployment) -> str:
    """Where a client of ours finds its engine: only the guard's forwarder knows the way through SSH. Empty for now."""
    if deployment.link is Link.SSH:
        return deployment.base_url.removesuffix("/v1")
    return reached_at(deployment.link, deployment.endpoint)


def client_for(fleet: Fleet, deployment: Deployment, key: Secret) -> EngineClient:
    """A client of its engine. Raises UserError when its certificate is not on this machine.

    Raises EngineUnreachable while its endpoint is not known, or the guard does not forward to it.
    """
    url = engine_url(deployment)
    if not url:
        raise EngineUnreachable(f"there is no way to {deployment.name} yet")
    certificate = None
    if deployment.link is Link.TLS:
        check_means(fleet, deployment)
        certificate = fleet.certificates.path(deployment.resource_name)
    return EngineClient(url, key, certificate=certificate)


def await_forwarder(fleet: Fleet, deployment: Deployment) -> Deployment:
    """The deployment with a `base_url` that answers: for one that is not reached directly, when the guard forwards.

    Raises UserError NEVER_HEALTHY when that does not come about, CREDENTIALS without its certificate or SSH key.
    """
    if deployment.link is Link.DIRECT:
        return deployment
    check_means(fleet, deployment)
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


def login_of(fleet: Fleet, deployment: Deployment) -> SshLogin | None:
    """How to log in to its machine; None where that has no SSH server, or this side does not know how."""
    try:
        return fleet.provider(deployment.provider).ssh(deployment.resource_name)
    except ProviderError:
        return None


def check_means(fleet: Fleet, deployment: Deployment) -> None:
    """Raises UserError CREDENTIALS when this machine lacks what its launch left on the one that launched it."""
    if deployment.link is Link.TLS and not fleet.certificates.path(deployment.resource_name).is_file():
        raise not_here("certificate", "the certificate of", deployment)
    if deployment.link is Link.SSH and login_of(fleet, deployment) is None:
        raise not_here("ssh-key", "the SSH key of", deployment)


def not_here(code: str, what: str, deployment: Deployment) -> UserError:
    """What is raised for something that only the machine that launched it has."""
    message = f"{what} {deployment.name} is not on this machine"
    hint = "it is on the machine from which it was launched"
    return UserError(Exit.CREDENTIALS, f"no-{code}", message, hint=hint)


def _answers(port: int | None) -> bool:
    if port is None:
        return False
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
