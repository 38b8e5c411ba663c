"""A comparison as a chart: monthly cost against volume."""

from collections.abc import Iterator, Mapping

from gpu_cli.compare.break_even import Envelope
from gpu_cli.compare.comparison import BreakEven, Comparison
from gpu_cli.compare.costs import PerToken
from gpu_cli.compare.options import SERVED, Option, Way
from gpu_cli.compare.volume import Volume
from gpu_cli.plots.charts import CostChart, Crossing, Curve, CurveKind

_KINDS: Mapping[Way, CurveKind] = {
    Way.CALL: "call",
    Way.CALL_OTHER: "call",
    Way.REFERENCE: "reference",
    Way.BUY: "buy",
}
_MOST: Mapping[CurveKind, int] = {"call": 3, "reference": 1, "buy": 1}
"""Of each kind, those that cost least: more than ten curves cannot be told apart."""
_AROUND = 10.0
"""The chart goes from the volume, and the crossings, so many times down and up."""


def cost_chart(found: Comparison, recipe: str) -> CostChart:
    """Each way of serving by whatever machine is the cheapest for it at a volume, and the calls that cost least; with
    the volumes from which serving is the cheaper.
    """
    volume, shown = found.volume, [option for kind in _MOST for option in _of_kind(found, kind)]
    crossings = tuple(
        _crossing(one, volume)
        for one in found.break_evens
        if one.called in shown and one.serving_is_cheaper and one.serving_is_cheaper[0].above
    )
    seen = [volume.tokens_per_day, *(crossing.tokens_per_day for crossing in crossings)]
    low, high = (end / volume.tokens_per_day for end in (min(seen) / _AROUND, max(seen) * _AROUND))
    curves = (*_served(found, low, high), *(_curve(option, volume, low, high) for option in shown))
    return CostChart(
        f"{recipe}: serve or call",
        tuple(curve for curve in curves if curve.points),
        crossings,
        volume.tokens_per_day,
        f"{volume.hours_per_day:g} h a day, {volume.days_per_month:.3g} days a month; list prices of {_days(found)}",
    )


def _of_kind(found: Comparison, kind: CurveKind) -> list[Option]:
    """The same model before others, as they are in order."""
    return [option for option in found.options if _KINDS.get(option.way) == kind][: _MOST[kind]]


def _crossing(one: BreakEven, volume: Volume) -> Crossing:
    at = one.serving_is_cheaper[0].above
    usd = one.called.cost.usd_per_month(volume.times(at / volume.tokens_per_day))
    return Crossing(at, usd, f"serving beats {one.called.provider}")


def _served(found: Comparison, low: float, high: float) -> Iterator[Curve]:
    for way in SERVED:
        if costs := [option.cost for option in found.served if option.way is way]:
            yield Curve(str(way), "serve", _points(Envelope(costs, found.volume), found.volume, low, high))


def _curve(option: Option, volume: Volume, low: float, high: float) -> Curve:
    label = f"{option.way}: {option.provider} {option.name.rpartition('/')[2]}"
    if not isinstance(option.cost, PerToken):
        return Curve(label, _KINDS[option.way], _points(Envelope([option.cost], volume), volume, low, high))
    tokens, usd = volume.tokens_per_day, option.cost.usd_per_month(volume)
    return Curve(label, _KINDS[option.way], tuple((factor * tokens, factor * usd) for factor in (low, high) if usd))


def _points(ways: Envelope, volume: Volume, low: float, high: float) -> tuple[tuple[float, float], ...]:
    """What costs nothing has no place on such a chart."""
    return tuple((factor * volume.tokens_per_day, usd) for factor, usd in ways.curve(low, high) if usd > 0)


def _days(found: Comparison) -> str:
    days = sorted({str(option.price.as_of) for option in found.options if option.price.as_of})
    return " to ".join(dict.fromkeys((days[0], days[-1])))
