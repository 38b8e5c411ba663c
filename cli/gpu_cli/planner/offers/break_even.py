"""Serverless against a machine that is rented by the hour: one bills while it works, the other all the time."""

from collections.abc import Iterable

from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_providers.base import Kind, Offer

BY_THE_HOUR = (Kind.POD, Kind.VM)
"""What bills from the order to the end."""


def cheapest_rival(offer: Offer, offers: Iterable[Offer]) -> Offer | None:
    """The cheapest pod or VM, at whatever cloud, with the GPUs of this serverless offer.

    None where there is none, and for an offer of another kind.
    """
    if offer.kind is not Kind.SERVERLESS:
        return None
    rivals = [rival for rival in offers if _competes(rival, offer)]
    return min(rivals, key=lambda rival: (rival.price_usd_per_hour, rival.provider, rival.offer_id), default=None)


def serverless_break_even(offer: Offer, rival: Offer) -> float:
    """The share of time busy below which this serverless offer costs less than its rival.

    1 where it is cheaper even when it is always busy.
    """
    return min(1.0, rival.price_usd_per_hour / offer.price_usd_per_hour) if offer.price_usd_per_hour > 0 else 1.0


def _competes(rival: Offer, offer: Offer) -> bool:
    same = (rival.gpu, rival.gpu_count) == (offer.gpu, offer.gpu_count)
    return same and rival.kind in BY_THE_HOUR and not rival.interruptible and not why_implausible(rival)
