"""What `gpu doctor` says about Vast.ai."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from gpu_providers.base import Check, Offer
from gpu_providers.doctor import key_check, search_check
from gpu_providers.values import number
from gpu_providers.vast import credentials
from gpu_providers.vast.client import VastClient

KEY, BALANCE, SEARCH = "vast key", "vast balance", "vast search"
_ADD_MONEY = "add credit at https://cloud.vast.ai/billing/: Vast.ai stops what runs when there is none left"


def checks(
    environ: Mapping[str, str], connect: Callable[[], VastClient], search: Callable[[], Sequence[Offer]]
) -> Iterator[Check]:
    """The key, where it is from and whether Vast.ai takes it, what the account has left, and a search. Never raises.

    No key is no trouble: the cloud is not used.
    """
    where = credentials.VARIABLE if environ.get(credentials.VARIABLE, "").strip() else "the key of Vast.ai's own tools"
    accepted, user = key_check(KEY, where, lambda: connect().user())
    yield accepted
    if user is None:
        return
    credit_usd = number(user.get("credit"))
    if credit_usd is not None:
        yield Check(BALANCE, credit_usd > 0, f"{credit_usd:.2f} USD left", hint="" if credit_usd > 0 else _ADD_MONEY)
    yield search_check(SEARCH, search)
