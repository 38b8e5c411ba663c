"""Serverless against a pod: one bills while it works, the other all the time."""

from collections.abc import Iterable

from gpu_cli.planner.offers.plausible_prices import why_implausible
from gpu_providers.base import Kind, Offer


def serverless_break_even(offer: Offer, offers: Iterable[Offer]) -> float | None:
    """The share of time busy below which this serverless offer costs less than the cheapest pod of the same GPUs.

    1 where it is cheaper even when it is always busy; None for an offer of another kind, and without such a pod.
    """
    if offer.kind is not Kind.SERVERLESS or offer.price_usd_per_hour <= 0:
        return None
    pods = [pod.price_usd_per_hour for pod in offers if _competes(pod, offer)]
    return min(1.0, min(pods) / offer.price_usd_per_hour) if pods else None


def _competes(pod: Offer, offer: Offer) -> bool:
    same = (pod.provider, pod.gpu, pod.gpu_count) == (offer.provider, offer.gpu, offer.gpu_count)
    return same and pod.kind is Kind.POD and not pod.interruptible and not why_implausible(pod)
