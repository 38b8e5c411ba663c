"""Lambda's SSH keys: `/api/v1/ssh-keys`.

Sources: Lambda's OpenAPI file 1.10.0; that names are unique, NVIDIA's brevdev/cloud (by its text: the code is not
documented, and the file allows but one). A key that is added later does not reach machines that are there. Pairs of
keys that Lambda makes are not emulated.
"""

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from ..server import Request, Response, Route
from .answers import data, invalid, refused_by_status

LONGEST_NAME, LONGEST_KEY = 64, 4096
FORMS = ("ssh-", "ecdsa-", "-----BEGIN", "---- BEGIN")


@dataclass(frozen=True)
class SshKey:
    """One public key."""

    id: str
    name: str
    public_key: str


class SshKeys:
    """All SSH keys of the account. Called under the cloud's lock."""

    def __init__(self) -> None:
        self._keys: dict[str, SshKey] = {}

    def named(self, name: str) -> SshKey | None:
        return next((key for key in self._keys.values() if key.name == name), None)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/ssh-keys", self._list, call="account"),
            Route("POST", "/api/v1/ssh-keys", self._add, call="account"),
            Route("DELETE", "/api/v1/ssh-keys/{id}", self._delete, call="account"),
        ]

    def _list(self, _: Request) -> Response:
        return data([asdict(key) for key in self._keys.values()])

    def _add(self, request: Request) -> Response:
        body = request.json()
        if not _is_right(body):
            return invalid("Invalid request data: name or public_key")
        if self.named(body["name"]):
            return invalid("SSH key name must be unique.")
        key = SshKey(secrets.token_hex(16), body["name"], body["public_key"])
        self._keys[key.id] = key
        return data(asdict(key))

    def _delete(self, request: Request) -> Response:
        if self._keys.pop(request.params["id"], None) is None:
            return refused_by_status(404, "The requested resource was not found.")
        return data({})


def _is_right(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    name, public_key = body.get("name"), body.get("public_key")
    if not isinstance(name, str) or not isinstance(public_key, str):
        return False
    return 0 < len(name) <= LONGEST_NAME and len(public_key) <= LONGEST_KEY and public_key.startswith(FORMS)
