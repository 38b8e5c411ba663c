"""Modal's proxy tokens: with one, a request passes the edge in front of functions and servers that ask for it.

Sources: the installed SDK (_workspace.py); the pages "Proxy Auth Tokens" and "Servers" of Modal's guide. The secret of
one is told once. In a restricted environment a token passes when it has been allowed there, else it is answered 403.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from ..clock import Clock
from .account import WORKSPACE, Account
from .server import not_found

MISSING = (401, "modal-http: missing credentials for proxy authorization")
WRONG = (401, "modal-http: invalid credentials for proxy authorization")
NOT_ALLOWED = (403, "modal-http: proxy token is not allowed in this environment")


@dataclass
class ProxyToken:
    id: str
    secret: str
    name: str
    created_at: float
    environments: set[str] = field(default_factory=set)
    """Where it has been allowed."""

    def told(self) -> api_pb2.WebhookToken:
        """Without its secret."""
        creator = api_pb2.UserIdentity(username=WORKSPACE)
        return api_pb2.WebhookToken(token_id=self.id, created_at=self.created_at, name=self.name, created_by=creator)


class ProxyTokens:
    """Called in the server's loop, under the cloud's lock."""

    def __init__(self, account: Account, clock: Clock, restricted: Collection[str] = ()) -> None:
        self._account = account
        self._clock = clock
        self._restricted = restricted
        self._tokens: dict[str, ProxyToken] = {}

    def __iter__(self) -> Iterator[ProxyToken]:
        return iter(self._tokens.values())

    def clear(self) -> None:
        """None is left."""
        self._tokens.clear()

    def refusal(self, headers: Mapping[str, str], environment: str, *, bearer: bool) -> tuple[int, str] | None:
        """The status and the words for a request with these headers (their names in lower case), or None when it
        passes. `bearer`: one Authorization header will do.
        """
        id_, secret = headers.get("modal-key", ""), headers.get("modal-secret", "")
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if bearer and not id_ and scheme.lower() == "bearer":
            id_, _, secret = key.strip().partition(".")
        if not id_:
            return MISSING
        token = self._tokens.get(id_)
        if token is None or not secrets.compare_digest(token.secret, secret):
            return WRONG
        return NOT_ALLOWED if environment in self._restricted and environment not in token.environments else None

    def WebhookTokenCreate(self, request: api_pb2.WebhookTokenCreateRequest) -> api_pb2.TokenCreateResponse:  # noqa: N802
        id_, secret = f"wk-{secrets.token_hex(11)}", f"ws-{secrets.token_hex(11)}"
        self._tokens[id_] = ProxyToken(id_, secret, request.name, self._clock.now())
        return api_pb2.TokenCreateResponse(token_id=id_, token_secret=secret)

    def WebhookTokenList(self, _: Empty) -> api_pb2.WebhookTokenListResponse:  # noqa: N802
        return api_pb2.WebhookTokenListResponse(tokens=[token.told() for token in self._tokens.values()])

    def WebhookTokenListForEnvironment(  # noqa: N802
        self, request: api_pb2.WebhookTokenListForEnvironmentRequest
    ) -> api_pb2.WebhookTokenListResponse:
        name = self._account.environment(request.environment_name)
        tokens = [token.told() for token in self._tokens.values() if name in token.environments]
        return api_pb2.WebhookTokenListResponse(tokens=tokens)

    def WebhookTokenEnvironmentAdd(self, request: api_pb2.WebhookTokenEnvironmentAddRequest) -> Empty:  # noqa: N802
        self._get(request.token_id).environments.add(self._account.environment_of(request.environment_id))
        return Empty()

    def WebhookTokenEnvironmentRemove(self, request: api_pb2.WebhookTokenEnvironmentRemoveRequest) -> Empty:  # noqa: N802
        self._get(request.token_id).environments.discard(self._account.environment_of(request.environment_id))
        return Empty()

    def WebhookTokenDelete(self, request: api_pb2.TokenDeleteRequest) -> Empty:  # noqa: N802
        del self._tokens[self._get(request.token_id).id]
        return Empty()

    def _get(self, id_: str) -> ProxyToken:
        if id_ not in self._tokens:
            raise not_found(f"Token {id_}")
        return self._tokens[id_]
