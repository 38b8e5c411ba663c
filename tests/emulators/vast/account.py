"""Vast.ai's account: who may do what with which key, and the credit.

What the sources say, and this does: a search needs no key (dstackai/gpuhunt); a wrong one is a 404 auth_error, none a
401 (jhammant/AIonDemandCluster#1; Vast's OpenAPI file); the key of an instance shows, manages and ends that instance,
and nothing else (vast-ai/docs, "Hello world"; tried on the real cloud in 2026-09). How a key is refused that may not do
something is not documented: 403 here. Nor is whether the key of an instance outlives it: it does, unless it is told to
die with it, and then it is a wrong one.
"""

from typing import TYPE_CHECKING

from ..server import Request, Response, Route, json_response
from .answers import AUTH_ERROR, refused

if TYPE_CHECKING:
    from .emulator import VastEmulator

KEYLESS = ("/api/v0/bundles/", "/api/v0/search/asks/")


class Account:
    """The account of the emulated cloud. Its methods are called under the cloud's lock."""

    def __init__(self, cloud: "VastEmulator") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        paths = ("/api/v0/users/current", "/api/v0/users/current/")
        return [Route("GET", path, self._user, call="account") for path in paths]

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request to the API, or None."""
        key = request.bearer
        if key == self._cloud.key or (not key and request.path in KEYLESS):
            return None
        if not key:
            return refused(401, AUTH_ERROR, "This action requires login.")
        instance = self._cloud.instances.by_key(key)
        if instance is None:
            return refused(404, AUTH_ERROR, "Invalid user key")
        is_own = request.path == f"/api/v0/instances/{instance.id}/"
        return None if is_own else refused(403, AUTH_ERROR, "This key may not do that.")

    def _user(self, _: Request) -> Response:
        credit_usd = self._cloud.billing.balance_usd()
        user = {"id": 90210, "key_id": 77001, "username": "someone", "email": "someone@example.com", "sid": "C.90210"}
        return json_response({**user, "ssh_key": "", "balance": 0.0, "credit": credit_usd, "has_billing": True})
