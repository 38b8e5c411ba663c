"""Offers as a JSON document, to be kept and ranked again: what comes back equals what went in."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gpu_providers.base import Kind, Offer

VERSION = 1

_MOST = 1e12
"""No number of an offer is near it."""


def offers_document(offers: Iterable[Offer]) -> dict[str, object]:
    """In the order given. Holds no secret: an offer has none."""
    return {"version": VERSION, "offers": [_offer_document(offer) for offer in offers]}


def offers_from_document(document: object) -> tuple[Offer, ...]:
    """Raises ValueError that names what is wrong: `offers[3].price_usd_per_hour: must be a number, not 'cheap'`."""
    if not isinstance(document, dict) or not isinstance(document.get("offers"), list):
        raise ValueError("has no list of `offers`: it is no file of saved offers")
    if document.get("version") != VERSION:
        raise ValueError(f"version: must be {VERSION}, not {document.get('version')!r}")
    return tuple(_offer(item, f"offers[{position}]") for position, item in enumerate(document["offers"]))


def _offer_document(offer: Offer) -> dict[str, object]:
    return {
        "provider": offer.provider,
        "kind": str(offer.kind),
        "offer_id": offer.offer_id,
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "gpu_memory_gib": offer.gpu_memory_gib,
        "region": offer.region,
        "price_usd_per_hour": offer.price_usd_per_hour,
        "price_parts": dict(offer.price_parts),
        "prices_as_of": offer.prices_as_of.astimezone(UTC).isoformat(),
        "interruptible": offer.interruptible,
        "bandwidth_mb_per_s": offer.bandwidth_mb_per_s,
        "boot_odds": offer.boot_odds,
        "disk_usd_per_gib_hour": offer.disk_usd_per_gib_hour,
        "traffic_usd_per_gib": offer.traffic_usd_per_gib,
        "architecture": offer.architecture,
        "stock_known": offer.stock_known,
    }


def _offer(item: object, place: str) -> Offer:
    if not isinstance(item, dict):
        raise ValueError(f"{place}: must be an offer, not {item!r}")
    if unknown := item.keys() - _FIELDS.keys():
        raise ValueError(f"{place}.{min(unknown)}: is not known")
    item = {**_ADDED, **item}
    return Offer(**{field: _value(item, field, read, place) for field, read in _FIELDS.items()})


def _value(item: Mapping[str, object], field: str, read: Callable[[object], object], place: str) -> Any:
    if field not in item:
        raise ValueError(f"{place}.{field}: is missing")
    try:
        return read(item[field])
    except ValueError as error:
        raise ValueError(f"{place}.{field}: must be {error}, not {item[field]!r}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise ValueError("a number, zero or more")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError("a whole number, zero or more")
    return value


def _rate(value: object) -> float | None:
    if value is not None and _number(value) == 0:
        raise ValueError("above zero, or null")
    return None if value is None else _number(value)


def _odds(value: object) -> float | None:
    odds = _rate(value)
    if odds is not None and odds > 1:
        raise ValueError("at most 1")
    return odds


def _kind(value: object) -> Kind:
    if value not in list(Kind):
        raise ValueError(f"one of {', '.join(Kind)}")
    return Kind(str(value))


def _parts(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("USD per hour by part")
    return {_text(part): _number(usd) for part, usd in value.items()}


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value))
    except ValueError:
        raise ValueError("a time as in ISO 8601") from None
    if time.tzinfo is None:
        raise ValueError("a time with its zone")
    return time


_FIELDS: Mapping[str, Callable[[object], object]] = {
    "provider": _text,
    "kind": _kind,
    "offer_id": _text,
    "gpu": _text,
    "gpu_count": _count,
    "gpu_memory_gib": _number,
    "region": _text,
    "price_usd_per_hour": _number,
    "price_parts": _parts,
    "prices_as_of": _time,
    "interruptible": _flag,
    "bandwidth_mb_per_s": _rate,
    "boot_odds": _odds,
    "disk_usd_per_gib_hour": _number,
    "traffic_usd_per_gib": _number,
    "architecture": _text,
    "stock_known": _flag,
}

_ADDED = {"architecture": Offer.architecture, "stock_known": Offer.stock_known}
"""What files of before do not say: all that was offered then was of this."""
