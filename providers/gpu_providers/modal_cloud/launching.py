"""How an app comes to be, or nothing of it does.

Modal's edge demands a proxy token of every request, so that no stranger's starts a GPU. Where it does not take the
token as clients send it, the app is published anew without that, and the engine checks a key of its own; and so it does
where our role in the workspace may not make tokens.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_providers.base import LaunchRequest, Secret
from gpu_providers.errors import CreateUnknown, InvalidRequest, NotFound, ProviderError, ProviderUnavailable
from gpu_providers.modal_cloud.blueprint import Blueprint, blueprint
from gpu_providers.modal_cloud.deploying import Deployed, deploy
from gpu_providers.modal_cloud.options import Options
from gpu_providers.modal_cloud.probe import Probe
from gpu_providers.modal_cloud.session import Session
from gpu_providers.modal_cloud.tokens import Tokens
from gpu_providers.names import check_name

if TYPE_CHECKING:
    from modal import Client

_DEPLOY_S = 3600.0
"""A deploy comes back when the image is built, which Modal does once for each; the engine's has 10 GB."""
_OWN_KEY = "so the engine checks the key itself: a stranger's request is refused, and starts a GPU all the same"
_REFUSED = f"Modal's edge does not take a bearer token here, {_OWN_KEY}"
_NOT_ALLOWED = f"this account may not make proxy tokens at Modal, {_OWN_KEY}"


@dataclass(frozen=True)
class Launching:
    """Deploys apps with the login of this session."""

    session: Session
    state_dir: Path
    probe: Probe = field(default_factory=Probe)

    @property
    def tokens(self) -> Tokens:
        """Those of the apps that were launched from here."""
        return Tokens(self.state_dir / "tokens")

    def launch(self, request: LaunchRequest, options: Options) -> str:
        """The id of the app, once it is published. Raises as the contract's `launch`."""
        check_name(request.name)
        blueprint(request, options)  # what cannot be is refused before anything is made
        deployed = None
        try:
            token = self._new_token(request.name)
            deployed = self._deployed(blueprint(request, options, guarded=token is not None))
            if token and self.probe.is_refused(deployed.url, token):
                self._deployed(blueprint(request, options, guarded=False))
                self._give_token_up(request.name)
        except CreateUnknown:
            if deployed:  # there is an app, and nobody knows whose key it takes
                self._undone(request.name)
            raise
        except BaseException as error:
            undone = self._undone(request.name)
            if deployed and not undone and isinstance(error, ProviderError):
                raise CreateUnknown(f"{error.message}; the app may go on at Modal", hint=error.hint) from error
            raise
        return deployed.app_id

    def note(self, name: str) -> str:
        """What the user has to know of how this one is guarded; empty where there is nothing."""
        if self.tokens.is_not_allowed(name):
            return _NOT_ALLOWED
        return _REFUSED if self.tokens.is_given_up(name) else ""

    def _new_token(self, name: str) -> Secret | None:
        """None where we may not make any."""
        import modal

        not_allowed = modal.exception.PermissionDeniedError
        with self.session.call(f"make a proxy token for {name}") as client, suppress(not_allowed):
            return self.tokens.create(client, name, self.session.environment)
        self.tokens.do_without(name)
        return None

    def _give_token_up(self, name: str) -> None:
        with self.session.call(f"delete the proxy token of {name}") as client:
            self.tokens.give_up(client, name)

    def _deployed(self, plan: Blueprint) -> Deployed:
        """Once more when the answer is lost: an app that was published is published anew, and then its URL is known.

        Raises CreateUnknown where no answer may mean that it was published.
        """
        with suppress(ProviderUnavailable):
            return self._deployed_once(plan)
        try:
            return self._deployed_once(plan)
        except ProviderUnavailable as error:
            raise CreateUnknown(error.message, hint=error.hint) from error

    def _deployed_once(self, plan: Blueprint) -> Deployed:
        try:
            with self.session.call(f"deploy {plan.name}", within_s=_DEPLOY_S) as client:
                return deploy(plan, client, self.session.environment)
        except NotFound as error:
            raise InvalidRequest(error.message, hint="make it at Modal, or correct its name") from error

    def _undone(self, name: str) -> bool:
        """Whether Modal has nothing of this name any more."""
        try:
            with self.session.call(f"take {name} back") as client:
                _stop(client, name, self.session.environment)
                self.tokens.forget(client, name)
        except ProviderError:
            self.tokens.forget(None, name)
            return False
        return True


def _stop(client: "Client", name: str, environment: str) -> None:
    """If it was published; what was not, Modal's client has ended."""
    import modal

    with suppress(modal.exception.NotFoundError):
        modal.App.lookup(name, environment_name=environment, client=client).stop(client=client)
