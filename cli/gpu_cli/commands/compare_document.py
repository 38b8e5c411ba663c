"""A comparison, for scripts: keys written by hand. Amounts are US dollars; `null` where something is not known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_cli.compare.comparison import BreakEven, Comparison, PayBack
from gpu_cli.compare.costs import PerActiveSecond, PerToken
from gpu_cli.compare.growth import Month
from gpu_cli.compare.options import Figure, Option
from gpu_cli.compare.price_table import Figure as Assumed
from gpu_cli.compare.price_table import Ownership
from gpu_cli.compare.volume import Volume


def comparison_document(found: Comparison, recipe: str, files: Sequence[Path]) -> Mapping[str, object]:
    """With everything, in the order of the table."""
    return {
        "recipe": recipe,
        "volume": _volume(found.volume),
        "answer": _name(found.answer) if found.answer else None,
        "options": [_option(option, found) for option in found.options],
        "break_even": [_break_even(one) for one in found.break_evens],
        "pay_back": [_pay_back(one, found.volume) for one in found.pay_backs],
        "months": [_month(month) for month in found.months],
        "not_compared": [{"name": one.name, "reason": one.reason} for one in found.unused],
        "files": [str(file) for file in files],
    }


def ownership_document(costs: Ownership) -> Mapping[str, object]:
    """What a machine of one's own is taken to cost."""
    return {
        "host_share": _taken(costs.host_share),
        "host_power_share": _taken(costs.host_power_share),
        "pue": _taken(costs.pue),
        "usd_per_kwh": _taken(costs.usd_per_kwh),
        "staff_hours_per_month": _taken(costs.staff_hours_per_month),
        "staff_usd_per_hour": _taken(costs.staff_usd_per_hour),
        "lifetime_months": _taken(costs.lifetime_months),
        "resale_share": _taken(costs.resale_share),
    }


def _taken(figure: Assumed) -> Mapping[str, object]:
    origin = {"as_of": figure.as_of.isoformat(), "source": figure.source, "note": figure.note}
    return {"value": figure.value, **origin}


def _volume(volume: Volume) -> Mapping[str, object]:
    return {
        "requests_per_day": round(volume.requests_per_day, 3),
        "input_tokens": round(volume.input_tokens, 3),
        "output_tokens": round(volume.output_tokens, 3),
        "tokens_per_day": round(volume.tokens_per_day, 3),
        "hours_per_day": volume.hours_per_day,
        "days_per_month": round(volume.days_per_month, 4),
        "peak": volume.peak,
    }


def _name(option: Option) -> Mapping[str, object]:
    return {"way": str(option.way), "provider": option.provider, "name": option.name}


def _option(option: Option, found: Comparison) -> Mapping[str, object]:
    volume, cost = found.volume, option.cost
    usd = cost.usd_per_month(volume)
    utilization = cost.utilization(volume)
    cold_starts = cost.cold_starts_per_day(volume) if isinstance(cost, PerActiveSecond) else None
    each = None if isinstance(cost, PerToken) else cost.capacity.requests_per_s(volume)
    return {
        **_name(option),
        "usd_per_month": round(usd, 4),
        "usd_per_million_tokens": round(1e6 * usd / volume.tokens_per_month, 6),
        "deployments": cost.deployments(volume),
        "requests_per_s_each": None if each is None else round(each, 4),
        "utilization": None if utilization is None else round(utilization, 6),
        "cold_starts_per_day": None if cold_starts is None else round(cold_starts, 3),
        "price": {**_figure(option.price), "old": option.price.is_old(found.day)},
        "price_source": option.price_source or None,
        "speed": _figure(option.speed) if option.speed else None,
        "notes": list(option.notes),
    }


def _figure(figure: Figure) -> Mapping[str, object]:
    return {"source": str(figure.source), "as_of": figure.as_of.isoformat() if figure.as_of else None}


def _break_even(one: BreakEven) -> Mapping[str, object]:
    return {
        **_name(one.called),
        "serving_is_cheaper": [
            {
                "above_tokens_per_day": round(each.above, 3),
                "up_to_tokens_per_day": None if each.up_to is None else round(each.up_to, 3),
            }
            for each in one.serving_is_cheaper
        ],
    }


def _pay_back(one: PayBack, volume: Volume) -> Mapping[str, object]:
    owned = one.owned
    return {
        "gpu": owned.card,
        "gpu_count": owned.card_count,
        "machines": owned.machines(volume),
        "purchase_usd_each": round(owned.machine.usd, 2),
        "running_usd_per_month_each": round(owned.machine.running_usd_per_month, 4),
        "against": {**_name(one.rival), "usd_per_month": round(one.rival.cost.usd_per_month(volume), 4)},
        "months": None if one.months is None else round(one.months, 3),
    }


def _month(month: Month) -> Mapping[str, object]:
    return {
        "month": month.number,
        "tokens_per_day": round(month.volume.tokens_per_day, 3),
        "answer": _name(month.answer),
        "options": [{**_name(option), "usd_per_month": round(usd, 4)} for option, usd in month.usd_by_group],
    }
