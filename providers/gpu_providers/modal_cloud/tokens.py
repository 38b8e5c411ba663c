"""Proxy tokens: what Modal's edge demands of a request before any container hears of it, one for each app of ours.

A token is made for the whole workspace; its secret is shown once (the SDK: modal/_workspace.py, 1.6.4). So it is kept
here before anything is deployed that demands it.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_providers.base import Secret
from gpu_providers.errors import InvalidRequest
from gpu_providers.names import check_name

if TYPE_CHECKING:
    from modal import Client
    from modal.workspace import WorkspaceProxyTokenManager


_NOT_ALLOWED = "not allowed"
"""In the place of a token that we may not make. That of one that was given up is empty."""
_LEFT = ".left"
"""Ends the name of an empty file: a token is forgotten here, and may still be at Modal."""
_NEW = ".new"
"""Ends the name of a file that is being written."""


@dataclass(frozen=True)
class Tokens:
    """The tokens that this side has made, by the names of their resources. Only this user can read them."""

    folder: Path

    def create(self, client: "Client", name: str, environment: str = "") -> Secret:
        """A new one: `<token id>.<token secret>`, as it is sent for a bearer token.

        Where access to environments is restricted, a token has to be let into the one that is named. Where it is not,
        or we may not, Modal says so: that is no matter. Raises Modal's errors; InvalidRequest when it cannot be kept.
        """
        import modal

        made = _tokens_at(client).create(name)
        token = f"{made.token_id}.{made.token_secret}"
        self._keep(name, token)
        if environment:
            with suppress(modal.exception.Error):
                _tokens_at(client).allow(made.token_id, environment)
        return Secret(token)

    def read(self, name: str) -> Secret | None:
        """None where there is none."""
        kept = self._kept(name)
        return None if kept in (None, "", _NOT_ALLOWED) else Secret(kept)

    def give_up(self, client: "Client", name: str) -> None:
        """Its app does without: delete the token, and keep that in mind. Raises as `create`."""
        self._keep(name, "")
        _delete(client, {name})

    def do_without(self, name: str) -> None:
        """We may not make one: keep that in mind. Raises InvalidRequest as `create`."""
        self._keep(name, _NOT_ALLOWED)

    def is_not_allowed(self, name: str) -> bool:
        """Whether its app does without, because we may not make one."""
        return self._kept(name) == _NOT_ALLOWED

    def is_given_up(self, name: str) -> bool:
        """Whether its app does without, as far as this side knows."""
        return self._kept(name) == ""

    def names(self) -> set[str]:
        """Of all resources that have one, and of those whose token may still be at Modal."""
        return {path.name.removesuffix(_LEFT) for path in self.folder.glob("*") if path.suffix != _NEW}

    def forget(self, client: "Client | None", name: str) -> None:
        """Delete it here and then, with a client, at Modal, whoever made it there, and with it those that could not be
        deleted there before. Raises Modal's errors.
        """
        was_made = not self.is_not_allowed(name)
        with suppress(OSError, InvalidRequest):
            self._path(name).unlink(missing_ok=True)
            if was_made:
                self._left(name).touch(mode=0o600)
        if client is None or not was_made:
            return
        names = {name, *(path.stem for path in self.folder.glob(f"*{_LEFT}"))}
        _delete(client, names)
        for gone in names:
            with suppress(OSError, InvalidRequest):
                self._left(gone).unlink(missing_ok=True)

    def _kept(self, name: str) -> str | None:
        with suppress(OSError, InvalidRequest):
            return self._path(name).read_text(encoding="utf-8")
        return None

    def _keep(self, name: str, text: str) -> None:
        path = self._path(name)
        temporary = path.with_suffix(_NEW)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            hint = "see to the rights and the disk of the folder for state"
            raise InvalidRequest(f"the token of {name} cannot be kept: {error.strerror}", hint=hint) from None

    def _path(self, name: str) -> Path:
        check_name(name)
        return self.folder / name

    def _left(self, name: str) -> Path:
        return self._path(name).with_suffix(_LEFT)


def _tokens_at(client: "Client") -> "WorkspaceProxyTokenManager":
    import modal

    return modal.Workspace.from_context(client=client).proxy_tokens


def _delete(client: "Client", names: Collection[str]) -> None:
    """All of these names: a create that the client has repeated may have made several."""
    import modal

    tokens = _tokens_at(client)
    for token in tokens.list():
        if token.name in names:
            with suppress(modal.exception.NotFoundError):  # somebody was faster
                tokens.delete(token.token_id)
