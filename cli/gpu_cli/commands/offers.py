"""`gpu offers`: what can be rented now, whatever it is for."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, MaxPrice, Provider, Region, Serverless, Spot
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from gpu_cli.fleet.market.market import Market
    from gpu_cli.planner.offers.filters import Pick
    from gpu_cli.ui.output import Table
    from gpu_providers.base import Offer


def offers(
    provider: Provider = None,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", help="Only this card, or family (A100); may be repeated.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Only so many GPUs in one machine.")] = None,
    region: Region = None,
    max_price: MaxPrice = None,
    serverless: Serverless = False,
    spot: Spot = False,
    as_json: AsJson = False,
) -> None:
    """List what can be rented now, the cheapest hour first; rent nothing."""
    from gpu_cli.commands.here import open_here
    from gpu_cli.commands.plan_report import providers_document, silent_providers, unknown_stock
    from gpu_cli.fleet.market.market import ask_for
    from gpu_cli.planner.offers.filters import Filters, Pick, cards_named
    from gpu_cli.ui.output import Result, show
    from gpu_providers.base import Kind, Search

    only, max_price_usd_per_hour = _settings(provider, max_price)
    pick = Pick(
        tuple(gpu or ()),
        count,
        Kind.SERVERLESS if serverless else None,
        Filters(max_price_usd_per_hour, region, spot),
    )
    _check_cards(pick.cards)
    search = Search(
        kind=pick.kind,
        cards=cards_named(pick.cards),
        max_price_usd_per_hour=max_price_usd_per_hour,
        spot=spot,
        region=region,
    )
    with open_here() as fleet:
        market = ask_for(fleet, lambda _: search, only=only)
    found = _found(market, pick)
    document = {"offers": [_document(offer) for offer in found], "providers": providers_document(market)}
    messages = (*silent_providers(market), *unknown_stock(found))
    show(Result(document, table=_table(found), messages=messages), as_json=as_json)


def _settings(provider: str | None, max_price: str | None) -> tuple[str | None, float | None]:
    """The provider and the price that hold, by flag or configuration."""
    from gpu_cli.config.keys import MAX_PRICE, PROVIDER
    from gpu_cli.config.settings import Settings
    from gpu_cli.paths import Paths

    settings = Settings.load(Paths.from_environ(os.environ), Path.cwd(), os.environ)
    return settings.resolve(PROVIDER, flag=provider).value, settings.resolve(MAX_PRICE, flag=max_price).value


def _check_cards(names: Sequence[str]) -> None:
    """Raises UserError for a name that no card begins with."""
    from gpu_cli.planner.offers.filters import same_card
    from gpu_cli.unknown_card import unknown_card
    from gpu_providers.gpus import GPUS

    for name in names:
        if not any(same_card(name, card) for card in (*GPUS, "cpu")):
            raise unknown_card(name)


def _found(market: "Market", pick: "Pick") -> "Sequence[Offer]":
    """The cheapest first. Raises UserError when that is nothing."""
    from gpu_cli.fleet.market.market import why_silent

    found = [offer for offer in market.offers if pick.takes(offer)]
    if found:
        return sorted(found, key=lambda offer: (offer.price_usd_per_hour, offer.provider, offer.offer_id))
    if silent := why_silent(market):
        raise silent
    reasons = [f"{name}: {answer.problem}" for name, answer in market.answers.items() if answer.problem]
    message = "; ".join((f"none of {len(market.offers)} offers is what was asked for", *reasons))
    raise UserError(Exit.NOTHING_FITS, "no-offers", message, hint="ask for less, or later: stock comes and goes")


def _document(offer: "Offer") -> Mapping[str, object]:
    from gpu_cli.commands.documents import iso

    return {
        "provider": offer.provider,
        "kind": str(offer.kind),
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "gpu_memory_gib": offer.gpu_memory_gib,
        "region": offer.region,
        "offer_id": offer.offer_id,
        "price_usd_per_hour": offer.price_usd_per_hour,
        "price_parts": dict(offer.price_parts),
        "interruptible": offer.interruptible,
        "stock_known": offer.stock_known,
        "prices_as_of": iso(offer.prices_as_of.timestamp()),
    }


def _table(found: "Sequence[Offer]") -> "Table":
    from gpu_cli.ui.output import Table

    return Table(("WHERE", "KIND", "GPU", "GIB", "$/H", "REGION"), tuple(_row(offer) for offer in found))


def _row(offer: "Offer") -> tuple[str, ...]:
    from gpu_cli.units import format_usd

    return (
        f"{offer.provider}{' spot' if offer.interruptible else ''}",
        str(offer.kind),
        offer.gpu if offer.gpu_count < 2 else f"{offer.gpu} x{offer.gpu_count}",
        f"{offer.gpu_memory_gib:.0f}",
        format_usd(offer.price_usd_per_hour),
        offer.region,
    )
