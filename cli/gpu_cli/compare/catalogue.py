"""What can be called in place of serving a model, what it costs, and what is not known: the price table, asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gpu_cli.compare.price_table import Api, ApiModel, OpenModel, Prices, UsdPerMillionTokens
from gpu_providers.regions import is_in


class Match(StrEnum):
    """How near what an API serves is to what was asked for."""

    SAME = "same"
    COMPARABLE = "comparable"
    REFERENCE = "reference"
    """A closed model: for the price alone."""


@dataclass(frozen=True)
class Listing:
    """A model that can be called in place of serving one."""

    provider: str
    """The API's key: `together`."""
    api: Api
    name: str
    """By which the API calls the model."""
    model: ApiModel
    match: Match
    why: str = ""
    """Why it is comparable."""

    def within(self, regions: Sequence[str]) -> "Listing | None":
        """The same where requests stay in one of these regions, at what that costs; None where it is not promised.
        No regions: any will do.
        """
        usual = self.api.terms.regions if self.api.terms else ()
        if not regions or (usual and all(_is_within(region, regions) for region in usual)):
            return self
        return replace(self, model=kept) if (kept := _kept_within(self.model, regions)) else None


@dataclass(frozen=True)
class Catalogue:
    """The price table, asked."""

    prices: Prices

    def maker_repository(self, model: str) -> str:
        """The maker's repository of this model or of the one that it is a variant of; itself where none is known."""
        homes = (home for home, known in self.prices.models.items() if model in known.variants)
        return next(homes, model)

    def listings(self, model: str) -> Sequence[Listing]:
        """Everything that can be called in place of this model (a repository on the hub): the same model, then
        comparable ones, then closed ones, each kind in the files' order.
        """
        asked = self.maker_repository(model)
        known = self.prices.models.get(asked, OpenModel())
        found = (
            self._listing(provider, name, asked, known)
            for provider, api in self.prices.apis.items()
            for name in api.models
        )
        order = list(Match)
        return sorted((one for one in found if one), key=lambda one: order.index(one.match))

    def without(self, model: str) -> Mapping[str, str]:
        """The APIs that list neither this model nor a comparable one, each with the reason."""
        listed = {one.provider for one in self.listings(model)}
        return {
            provider: api.no_prices or f"lists no price for {self.maker_repository(model)} or a comparable model"
            for provider, api in self.prices.apis.items()
            if provider not in listed
        }

    def _listing(self, provider: str, name: str, asked: str, known: OpenModel) -> Listing | None:
        api = self.prices.apis[provider]
        model = api.models[name]
        if model.serves == asked:
            return Listing(provider, api, name, model, Match.SAME)
        if model.serves is None:
            return Listing(provider, api, name, model, Match.REFERENCE)
        why = known.comparable.get(model.serves)
        return Listing(provider, api, name, model, Match.COMPARABLE, why) if why else None


def _is_within(region: str, wanted: Sequence[str]) -> bool:
    return any(is_in(one, region) for one in wanted)


def _kept_within(model: ApiModel, regions: Sequence[str]) -> ApiModel | None:
    """In the cheapest of them. What two prices make is as old as the older one."""
    if not model.regional:
        return None
    offered = model.regional.price_factors.items()
    choices = [(factor, region) for region, factor in offered if _is_within(region, regions)]
    if not choices:
        return None
    factor, region = min(choices)
    prices = {name: usd * factor for name, usd in model.usd_per_million_tokens}
    note = f"{factor:g} times its list price, to keep requests in {region}"
    return model.model_copy(
        update={
            "usd_per_million_tokens": UsdPerMillionTokens.model_validate(prices),
            "as_of": min(model.as_of, model.regional.as_of),
            "note": "; ".join(said for said in (model.note, note) if said),
        }
    )
