"""Clouds that sell what a test gives them."""

# ruff: noqa: ARG002 - the contract gives a provider more than this one needs

from collections.abc import Sequence
from datetime import UTC, datetime

from fleets import Cloud

from gpu_providers.base import Check, Kind, Offer, Search


class Seller(Cloud):
    """Sells what it is given, or fails as it is told; `searches` is what it was asked for."""

    def __init__(self, *offers: Offer, fails: Exception | None = None) -> None:
        super().__init__()
        self.sold, self.fails = offers, fails
        self.searches: list[Search] = []

    def offers(self, search: Search) -> list[Offer]:
        self.searches.append(search)
        if self.fails:
            raise self.fails
        return [offer for offer in self.sold if search.kind in (None, offer.kind)]

    def why_no_offers(self, search: Search) -> str:
        return "sold out"

    def check(self) -> Sequence[Check]:
        if self.fails:
            raise self.fails
        return [Check("seller", True, "sells")]


def offer(provider: str = "runpod", price: float = 2.0, kind: Kind = Kind.POD) -> Offer:
    """An H100 in Europe."""
    day = datetime(2026, 11, 1, tzinfo=UTC)
    return Offer(provider, kind, f"{provider}-{price}", "H100", 1, 79.2, "eu", price, {"gpu": price}, day)
