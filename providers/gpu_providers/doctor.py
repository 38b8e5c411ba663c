"""What `gpu doctor` asks of clouds that are alike."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpu_providers.base import Check, Offer
from gpu_providers.errors import NoCredentials, ProviderError

T = TypeVar("T")


def key_check(subject: str, where: str, ask: Callable[[], T]) -> tuple[Check, T | None]:
    """Whether the cloud takes the key that is from `where`, with its answer; None for none. Never raises.

    No key is no trouble: the cloud is not used.
    """
    try:
        answer = ask()
    except NoCredentials as error:
        return Check(subject, True, f"{error.message}: it is not used", hint=error.hint), None
    except ProviderError as error:
        return Check(subject, False, f"{where}: {error.message}", hint=error.hint), None
    return Check(subject, True, f"{where}: accepted"), answer


def search_check(subject: str, search: Callable[[], Sequence[Offer]]) -> Check:
    """Whether there is anything to rent, and from what price. Never raises."""
    try:
        offers = search()
    except ProviderError as error:
        return Check(subject, False, error.message, hint=error.hint)
    if not offers:
        return Check(subject, True, "answered, with nothing to rent now")
    cheapest = min(offers, key=lambda offer: offer.price_usd_per_hour)
    return Check(subject, True, f"{len(offers)} offers, from {cheapest.price_usd_per_hour:.3f} USD/h ({cheapest.gpu})")
