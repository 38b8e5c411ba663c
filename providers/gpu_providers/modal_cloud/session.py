"""The way to Modal: one client of its SDK for each session, whose errors come out as errors of ours.

The SDK takes 0.35 s to import, so that is put off until Modal is really asked.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from gpu_providers.api_keys import fingerprint
from gpu_providers.base import Secret
from gpu_providers.errors import ProviderError, ProviderUnavailable
from gpu_providers.modal_cloud.credentials import SERVER_URLS, OAuth, Settings, Token
from gpu_providers.modal_cloud.quiet import hush
from gpu_providers.modal_cloud.reach import Reach
from gpu_providers.modal_cloud.refusals import TRY_LATER, told

if TYPE_CHECKING:
    from modal import Client

THROTTLE_S = 30
"""How long the client waits, in all, when the server asks it to be slower; by itself it would for ever."""
ANSWER_S = 60.0
"""How long Modal may take for what is no deploy. The client would wait for as long as the connection lives, and a guard
that waits guards nothing."""
_LOG_LINES = 20
_process_environment = threading.Lock()


class Session:
    """Modal as it is asked with the credentials in `environ`, by any number of threads.

    From `environ` come the login, the server, and the environment at Modal, which the SDK has to be given with whatever
    is in one: `environment_name=session.environment`. All other settings of Modal's (MODAL_IMAGE_BUILDER_VERSION ...)
    the SDK itself reads, from the variables of this process and the user's profile. A process that forks needs another
    session on the other side.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._reach = Reach()
        self._client: Client | None = None
        self._opened_for: object = None
        """The login and the server of the client."""

    def account(self) -> str:
        """Tells who is logged in, and at which environment, from others; asks nobody, and does not import the SDK.

        Raises NoCredentials without a login, AuthError for one that cannot be read or is incomplete.
        """
        settings = self.settings()
        return fingerprint(Secret(f"{settings.login.account} {settings.get('environment')}".strip()))

    @property
    def environment(self) -> str:
        """The name of the environment at Modal, or empty for the workspace's default. Raises AuthError as `account`."""
        return self.settings().get("environment")

    def settings(self) -> Settings:
        """As they are now. Raises AuthError as `account`."""
        return Settings(self._environ)

    @contextmanager
    def call(self, what: str, *, within_s: float = ANSWER_S) -> "Iterator[Client]":
        """The client, for as long as Modal is asked to do `what` ("stop gpu-x").

        Whatever the SDK raises in the block comes out as a ProviderError. That is also how a missing login is told,
        within seconds a Modal that is not there, and after `within_s` one that does not answer: then the client is
        closed, and with it whatever else is asked with it.
        """
        settings = self.settings()
        login, server_urls = settings.login, settings.get("server_url") or SERVER_URLS
        self._reach.check(server_urls, direct=_is_on(settings.get("disable_api_proxy")))
        import grpclib
        import modal
        from grpclib.exceptions import StreamTerminatedError

        trouble = (modal.exception.Error, grpclib.GRPCError, StreamTerminatedError, ConnectionError, TimeoutError)
        try:
            client = self._opened(login, server_urls)
            with self._no_longer_than(within_s, client):
                yield client
        except trouble as error:
            raise self._told(error, what) from error

    def close(self) -> None:
        """Ends the client; what is still asked then fails. A `call` after that opens another one."""
        if client := self._client:
            self._drop(client)

    def _opened(self, login: Token | OAuth, server_urls: str) -> "Client":
        """A login may be exchanged for another one while a process lives."""
        if self._opened_for != (login, server_urls):
            self.close()
        with self._lock:
            if not self._client:
                self._client, self._opened_for = _client(login, server_urls), (login, server_urls)
            return self._client

    @contextmanager
    def _no_longer_than(self, limit_s: float, client: "Client") -> Iterator[None]:
        """By the end of this client, which ends all that waits for an answer to it."""
        limit = threading.Timer(limit_s, self._drop, [client])
        limit.daemon = True
        limit.start()
        try:
            yield
        finally:
            limit.cancel()
            limit.join()  # a client that is being closed while the process ends says so on stderr

    def _drop(self, client: "Client") -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        client.close()

    def _told(self, error: Exception, what: str) -> ProviderError:
        import modal

        if isinstance(error, modal.exception.ClientClosed):
            return ProviderUnavailable(f"Modal, asked to {what}: no answer in time", hint=TRY_LATER)
        return told(error, what, self._build_log(getattr(error, "image_id", "")))

    def _build_log(self, image_id: str) -> str:
        """The last line of how this image was built: the error may say no more than that it was not. Never raises."""
        if not image_id or not self._client:
            return ""
        import modal

        with suppress(modal.exception.Error):
            entries = modal.Image.from_id(image_id, client=self._client).logs.tail(_LOG_LINES)
            lines = [line.strip() for entry in entries for line in entry.message.splitlines()]
            return next((line for line in reversed(lines) if line), "")
        return ""


def rpc(client: "Client", name: str, request: Any) -> Any:
    """The answer to one request of Modal's API for which the SDK has no call. Raises the SDK's errors.

    The API is no promise of Modal's: it is as in modal_proto of the SDK 1.6.4.
    """
    return _rpc()(client, name, request)


@cache
def _rpc() -> Any:
    """From any thread into the SDK's own, where its client lives (modal/_utils/async_utils.py, 1.6.4)."""
    from modal._utils.async_utils import synchronizer

    async def ask(client: Any, name: str, request: Any) -> Any:
        return await getattr(client._stub, name)(request)

    return synchronizer.create_blocking(ask, "rpc", __name__)


def _client(login: Token | OAuth, server_urls: str) -> "Client":
    """The SDK takes the server from the variables of this process alone, when it opens a client (modal/client.py,
    1.6.4), and reads there how long to wait whenever it is to wait.
    """
    import modal
    from modal.config import config

    hush()
    if config.get("max_throttle_wait") is None:
        os.environ["MODAL_MAX_THROTTLE_WAIT"] = str(THROTTLE_S)
    with _process_variable("MODAL_SERVER_URL", server_urls):
        if isinstance(login, Token):
            return modal.Client.from_credentials(login.token_id, login.token_secret.reveal())
        return modal.Client.from_oauth_credentials(
            login.refresh_token.reveal(),
            oauth_client_id=login.client_id,
            oauth_client_secret=login.client_secret.reveal(),
        )


@contextmanager
def _process_variable(name: str, value: str) -> Iterator[None]:
    with _process_environment:
        before = os.environ.get(name)
        os.environ[name] = value
        try:
            yield
        finally:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def _is_on(said: str) -> bool:
    """As the SDK reads it (modal/config.py, 1.6.4)."""
    return said.lower() not in ("", "0", "false")
