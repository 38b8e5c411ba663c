"""What talks to Modal, in the place where its errors become something that a user can act on.

Modal's own client does the talking, with the token that Modal's own tools use: MODAL_TOKEN_ID and MODAL_TOKEN_SECRET
of this process, or the active profile of ~/.modal.toml. It is slow to import: that is put off until it is needed.
"""

import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from modal import Client

CONNECT_S = 5.0


@contextmanager
def modal_client() -> "Iterator[Client]":
    """A client for as long as the block runs. Whatever Modal refuses in there is a UserError: CREDENTIALS
    `modal-refused` where it is the token, else LAUNCH_FAILED `modal-unreachable` or `modal-failed`.
    """
    _check_configuration()
    import modal.config
    import modal.exception

    _check_reachable(modal.config.config["server_url"])
    try:
        with _opened(modal) as client:
            yield client
    except modal.exception.Error as error:
        raise _told(error, modal.exception) from error


def _check_configuration() -> None:
    """One that cannot be read fails the import, after a banner on stdout (modal/__init__.py and config.py, 1.6.4)."""
    path = Path(os.environ.get("MODAL_CONFIG_PATH") or Path.home() / ".modal.toml")
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _refused(f"{path} cannot be read") from error
    if not all(isinstance(profile, dict) for profile in profiles.values()):
        raise _refused(f"{path} holds more than profiles")


def _check_reachable(server_urls: str) -> None:
    """Modal's client takes a minute to say that nothing answers; its servers stand in for each other."""
    servers = [urlsplit(url.strip()) for url in server_urls.split(",")]
    if not any(_answers(url.hostname or "", url.port or 443) for url in servers):
        raise _unreachable(", ".join(url.netloc for url in servers))


def _answers(host: str, port: int) -> bool:
    try:
        with closing(socket.create_connection((host, port), CONNECT_S)):
            return True
    except OSError:
        return False


def _opened(modal: ModuleType) -> "Client":
    """What is invalid before anything was asked is the configuration: several profiles, none of them active."""
    try:
        client: Client = modal.Client.from_env()
    except modal.exception.InvalidError as error:
        raise _refused(_line(error)) from error
    return client


def _told(error: Exception, exceptions: ModuleType) -> UserError:
    if isinstance(error, exceptions.AuthError | exceptions.PermissionDeniedError):
        return _refused(_line(error))
    if isinstance(error, exceptions.ConnectionError | exceptions.ServiceError | exceptions.TimeoutError):
        return _unreachable(_line(error))
    return UserError(Exit.LAUNCH_FAILED, "modal-failed", f"Modal: {_line(error)}", hint="see https://modal.com/apps")


def _refused(why: str) -> UserError:
    hint = "set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or run `modal token new`"
    return UserError(Exit.CREDENTIALS, "modal-refused", f"no token that Modal takes: {why}", hint=hint)


def _unreachable(what: str) -> UserError:
    message = f"Modal does not answer ({what})"
    return UserError(Exit.LAUNCH_FAILED, "modal-unreachable", message, hint="check the network, and try again")


def _line(error: Exception) -> str:
    """The first sentence: what follows is advice about other programs."""
    return str(error).partition(". ")[0].partition("\n")[0].rstrip(".") or type(error).__name__
