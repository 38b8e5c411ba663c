"""The way to Modal for the guard away from here, with errors that a user can act on."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.errors import AuthError, ProviderError, ProviderUnavailable
from gpu_providers.modal_cloud.session import ANSWER_S, Session

if TYPE_CHECKING:
    from modal import Client


@contextmanager
def modal_client(*, within_s: float = ANSWER_S) -> "Iterator[Client]":
    """A client for as long as the block runs, `within_s` at the most, with the login that Modal's own tools use.

    Whatever Modal refuses in there is a UserError: CREDENTIALS `modal-refused` where it is the login, else
    LAUNCH_FAILED `modal-unreachable` or `modal-failed`.
    """
    try:
        with (
            closing(Session(os.environ)) as session,
            session.call("keep the guard there", within_s=within_s) as client,
        ):
            yield client
    except ProviderError as error:
        raise _told(error) from error


def _told(error: ProviderError) -> UserError:
    exit_status, code = Exit.LAUNCH_FAILED, "modal-failed"
    if isinstance(error, AuthError):
        exit_status, code = Exit.CREDENTIALS, "modal-refused"
    if isinstance(error, ProviderUnavailable):
        code = "modal-unreachable"
    return UserError(exit_status, code, error.message, hint=error.hint or "see https://modal.com/apps")
