"""RunPod's catalogue: which GPUs there are, at what price, and where how many are free.

As the real one (its OpenAPI file; runpod/runpod-plugins-official, notes on breaking changes): prices are of one GPU;
stock is told only with `include=AVAILABILITY`, which needs a `product`, and for the `count`, `cloud`, countries and
CUDA versions that are asked for; where there is none, the list of data centers is left out; parameters that it does
not know are ignored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..server import Request, Response, Route, json_response
from .answers import not_found, problem
from .cards import CARDS, COMMUNITY, DATA_CENTERS, FREE, SECURE, Card, DataCenter


@dataclass(frozen=True)
class Wish:
    """What machine is wanted."""

    count: int = 1
    clouds: Sequence[str] = (SECURE, COMMUNITY)
    data_centers: Sequence[str] = tuple(DATA_CENTERS)
    cuda_versions: Sequence[str] = ()
    """Exactly one of these; empty: any."""
    min_cuda_version: str = ""

    def cuda_of(self, card: Card) -> list[str]:
        """The versions of the card's hosts that will do."""
        return [
            version
            for version in card.cuda
            if (not self.cuda_versions or version in self.cuda_versions)
            and cuda_number(version) >= cuda_number(self.min_cuda_version)
        ]

    @property
    def constrains_cuda(self) -> bool:
        return bool(self.cuda_versions or self.min_cuda_version)


def cuda_number(version: str) -> tuple[int, ...]:
    """For comparing: 12.11 is above 12.2."""
    return tuple(int(part) for part in version.split(".")) if version else ()


class Catalogue:
    """The cards with their stock, which tests may set: `stock` is a level by card id, `*` is every card not named."""

    def __init__(self, stock: Mapping[str, str] | None = None) -> None:
        levels = stock or {}
        self._cards = {card.id: card for card in CARDS}
        for card in CARDS:
            if level := levels.get(card.id, levels.get("*")):
                self._cards[card.id] = card.at_level(level)
        if unknown := levels.keys() - self._cards.keys() - {"*"}:
            raise ValueError(f"no such card: {', '.join(unknown)}")

    def card(self, id: str) -> Card | None:  # noqa: A002
        return self._cards.get(id)

    def pool(self, name: str) -> list[Card]:
        """The cards of a serverless pool."""
        return [card for card in self._cards.values() if card.pool == name]

    def selected(self, pools: Sequence[str], excluded: Sequence[str]) -> list[Card]:
        """The cards of several pools, but for some."""
        return [card for pool in pools for card in self.pool(pool) if card.id not in excluded]

    def place(self, card: Card, wish: Wish) -> tuple[str, str | None] | None:
        """The data center and its host's CUDA version (AMD's hosts: none) for a machine as wished, or None."""
        versions = wish.cuda_of(card)
        if wish.constrains_cuda and not versions:
            return None
        places = _places(card, wish)
        return (places[0][0], versions[-1] if versions else None) if places else None

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/catalog/gpus", self._gpus, call="offers"),
            Route("GET", "/v2/catalog/gpus/{id}", self._gpu, call="offers"),
            Route("GET", "/v2/catalog/datacenters", self._data_centers, call="offers"),
            Route("GET", "/v2/catalog/datacenters/{id}", self._data_center, call="offers"),
        ]

    def _gpus(self, request: Request) -> Response:
        if refusal := _refusal(request):
            return refusal
        return json_response({"gpus": [_gpu_json(card, request) for card in self._cards.values()]})

    def _gpu(self, request: Request) -> Response:
        card = self._cards.get(request.params["id"])
        return not_found() if card is None else _refusal(request) or json_response(_gpu_json(card, request))

    def _data_centers(self, request: Request) -> Response:
        regions = _listed(request, "regions")
        centers = [center for center in DATA_CENTERS.values() if not regions or center.region in regions]
        return json_response({"dataCenters": [self._data_center_json(center, request) for center in centers]})

    def _data_center(self, request: Request) -> Response:
        center = DATA_CENTERS.get(request.params["id"])
        return not_found() if center is None else json_response(self._data_center_json(center, request))

    def _data_center_json(self, center: DataCenter, request: Request) -> dict[str, Any]:
        told = {
            "id": center.id,
            "name": center.name,
            "region": center.region,
            "globalNetwork": False,
            "networkVolumeTypes": list(center.volumes),
            "compliance": [],
        }
        if "GPU_AVAILABILITY" not in _listed(request, "include"):
            return told
        here = Wish(data_centers=(center.id,))
        offered = [card for card in self._cards.values() if center.id in {*card.secure, *card.community}]
        stock = [{"id": card.id, "name": card.name, "availability": _best(_places(card, here))} for card in offered]
        return told | ({"gpuAvailability": stock} if stock else {})


def _refusal(request: Request) -> Response | None:
    if "AVAILABILITY" in _listed(request, "include") and not request.query.get("product"):
        return problem(400, "product is required when include=AVAILABILITY")
    return None


def _gpu_json(card: Card, request: Request) -> dict[str, Any]:
    price = {"secure": card.usd_per_hour(SECURE), "community": card.usd_per_hour(COMMUNITY)}
    if card.price.serverless is not None:
        price["serverless"] = card.price.serverless
    told = {
        "id": card.id,
        "name": card.name,
        "pool": card.pool,
        "manufacturer": card.manufacturer,
        "memory": card.memory_gb,
        "secure": card.price.secure is not None,
        "community": card.price.community is not None,
        "price": price,
        "maxCount": {"secure": card.most_secure, "community": card.most_community},
    }
    return told | (_stock_json(card, request) if "AVAILABILITY" in _listed(request, "include") else {})


def _stock_json(card: Card, request: Request) -> dict[str, Any]:
    wish, versions = _wish(request), _wish(request).cuda_of(card)
    in_product = card.pool is not None or "POD" in _listed(request, "product")
    places = _places(card, wish) if in_product and (versions or not wish.constrains_cuda) else []
    centers = [{"id": id_, "name": DATA_CENTERS[id_].name, "availability": level} for id_, level in places]
    return {
        "availability": _best(places),
        **({"dataCenters": centers} if centers else {}),
        **({"cudaVersions": [{"version": v, "available": bool(places)} for v in versions]} if card.cuda else {}),
    }


def _wish(request: Request) -> Wish:
    countries = _listed(request, "countryCodes")
    return Wish(
        count=int(request.query.get("count", 1)),
        clouds=_listed(request, "cloud") or Wish.clouds,
        data_centers=[c.id for c in DATA_CENTERS.values() if not countries or c.country in countries],
        cuda_versions=_listed(request, "cudaVersions"),
        min_cuda_version=request.query.get("minCudaVersion", ""),
    )


def _places(card: Card, wish: Wish) -> list[tuple[str, str]]:
    """Data centers with such a machine, and their levels of stock; the most of it first."""
    found: dict[str, str] = {}
    for cloud in wish.clouds:
        for center, level in card.stock(cloud).items():
            if center in wish.data_centers and card.can_place(cloud, center, wish.count):
                found[center] = max(level, found.get(center, "NONE"), key=FREE.__getitem__)
    return sorted(found.items(), key=lambda place: -FREE[place[1]])


def _best(places: Iterable[tuple[str, str]]) -> str:
    return max((level for _, level in places), key=FREE.__getitem__, default="NONE")


def _listed(request: Request, name: str) -> list[str]:
    """The values of a parameter that takes several, joined by commas."""
    return [value for value in request.query.get(name, "").split(",") if value]
