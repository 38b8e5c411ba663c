"""What `gpu doctor` says about Vast.ai."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from gpu_providers.base import Check, Offer
from gpu_providers.errors import NoCredentials, ProviderError
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
    try:
        user = connect().user()
    except NoCredentials as error:
        yield Check(KEY, True, f"{error.message}: it is not used", hint=error.hint)
        return
    except ProviderError as error:
        yield Check(KEY, False, f"{where}: {error.message}", hint=error.hint)
        return
    yield Check(KEY, True, f"{where}: accepted")
    credit_usd = number(user.get("credit"))
    if credit_usd is not None:
        yield Check(BALANCE, credit_usd > 0, f"{credit_usd:.2f} USD left", hint="" if credit_usd > 0 else _ADD_MONEY)
    yield _searched(search)


def _searched(search: Callable[[], Sequence[Offer]]) -> Check:
    try:
        offers = search()
    except ProviderError as error:
        return Check(SEARCH, False, error.message, hint=error.hint)
    if not offers:
        return Check(SEARCH, True, "answered, with nothing to rent now")
    cheapest = min(offers, key=lambda offer: offer.price_usd_per_hour)
    return Check(SEARCH, True, f"{len(offers)} offers, from {cheapest.price_usd_per_hour:.3f} USD/h ({cheapest.gpu})")
