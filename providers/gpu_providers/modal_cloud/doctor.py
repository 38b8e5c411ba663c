"""What `gpu doctor` says about Modal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gpu_providers.base import Check, Offer
from gpu_providers.doctor import key_check, search_check
from gpu_providers.errors import AuthError, ProviderError
from gpu_providers.modal_cloud.credentials import FILE
from gpu_providers.modal_cloud.rates import LISTED, Rates
from gpu_providers.modal_cloud.session import Session

TOKEN, RATES, SEARCH = "modal token", "modal prices", "modal offers"


def checks(session: Session, rates: Callable[[], Rates], search: Callable[[], Sequence[Offer]]) -> Iterator[Check]:
    """The token, whether Modal takes it and for which workspace; whether it tells its prices; and offers. Never raises.

    No token is no trouble: the cloud is not used.
    """
    accepted, workspace = key_check(TOKEN, _where(session), lambda: _workspace(session))
    yield replace(accepted, message=f"{accepted.message}, workspace {workspace}") if workspace else accepted
    if workspace is None:
        return
    yield _rates(rates)
    yield search_check(SEARCH, search)


def _where(session: Session) -> str:
    try:
        return session.settings().where
    except AuthError:
        return FILE


def _workspace(session: Session) -> str:
    """Its name. Raises ProviderError."""
    with session.call("tell its workspace") as client:
        import modal

        workspace = modal.Workspace.from_context(client=client)
        workspace.hydrate()
        return workspace.name or ""


def _rates(rates: Callable[[], Rates]) -> Check:
    try:
        found = rates()
    except ProviderError as error:
        return Check(RATES, False, error.message, hint=error.hint)
    if found.as_of == LISTED.as_of:
        return Check(RATES, True, f"not told to this token: list prices of {found.as_of:%Y-%m-%d} are used")
    return Check(RATES, True, "those of this account")
