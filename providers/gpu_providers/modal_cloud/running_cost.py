"""What an app costs at this moment, by the containers that it has."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gpu_providers.modal_cloud.containers import Container
from gpu_providers.modal_cloud.offers import hour_price
from gpu_providers.modal_cloud.rates import Rates
from gpu_providers.modal_cloud.tags import Facts

GetRates = Callable[[], Rates]


def usd_per_hour(
    found: Sequence[Container] | None, counted: int, facts: Facts, labels: Mapping[str, str], rates: GetRates
) -> float:
    """Of all containers that Modal has started: those that wait for a card cost nothing.

    `found` is None where Modal does not tell them apart: then all that it has `counted` are taken to run as ordered.
    """
    if found is None:
        return counted * facts.price_usd_per_hour
    return sum(_usd_per_hour(container, facts, labels, rates) for container in found if container.runs)


def _usd_per_hour(container: Container, facts: Facts, labels: Mapping[str, str], rates: GetRates) -> float:
    """As ordered, but for cards of another choice; as ordered too where the price of these is not known."""
    ordered = labels.get("gpu", "")
    if container.gpu in ("", ordered):
        return facts.price_usd_per_hour
    regions = tuple(filter(None, labels.get("region", "").split(", ")))
    with suppress(KeyError):
        had, meant = (
            hour_price(rates(), card, container.gpu_count, cores=0, memory_gib=0, regions=regions)
            for card in (container.gpu, ordered)
        )
        return facts.price_usd_per_hour + sum(had.values()) - sum(meant.values())
    return facts.price_usd_per_hour
