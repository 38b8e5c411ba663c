"""A comparison, for people."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.commands.compare_document import comparison_document, ownership_document
from gpu_cli.commands.plan_report import providers_document, silent_providers
from gpu_cli.commands.speeds import MEASURED
from gpu_cli.compare.break_even import MOST_DEPLOYMENTS, Range
from gpu_cli.compare.comparison import BreakEven, Comparison, PayBack
from gpu_cli.compare.costs import PerActiveSecond
from gpu_cli.compare.options import Option, Source, Way
from gpu_cli.compare.price_table import Ownership
from gpu_cli.compare.volume import Volume
from gpu_cli.plots.words import count
from gpu_cli.ui.output import Result, Table
from gpu_cli.units import format_duration, format_usd

if TYPE_CHECKING:
    from gpu_cli.compare.study import Study
    from gpu_cli.fleet.launch.launch import Wanted

SHOWN_REASONS = 6
_SELDOM = 0.01
_FAR = f" (looked at up to {MOST_DEPLOYMENTS} deployments)"


def comparison_result(found: Comparison, wanted: "Wanted", study: "Study", files: Sequence[Path]) -> Result:
    """All ways, and what there is to say of them."""
    prose = (
        *(f"by default: {text}" for text in wanted.defaults),
        *silent_providers(study.market),
        *_unused(found),
        *_notes(found),
        _asked(found.volume),
        *_break_evens(found.break_evens),
        *_pay_backs(found.pay_backs, found.volume),
        *(_owning(study.catalogue.prices.ownership) for _ in found.pay_backs[:1]),
        *_answers(found),
        _sources(found, study.concurrency),
    )
    document = {
        **comparison_document(found, wanted.recipe.name, files),
        "concurrency": study.concurrency,
        "ownership": ownership_document(study.catalogue.prices.ownership) if study.cards else None,
        "providers": providers_document(study.market),
    }
    return Result(document, table=_table(found), prose=prose, messages=tuple(f"written: {file}" for file in files))


def months_table(found: Comparison) -> Table:
    """What each month of a growing volume costs."""
    columns = ("MONTH", "TOKENS/DAY", *(_heading(option.way) for option, _ in found.months[0].usd_by_group), "CHEAPEST")
    rows = (
        (
            str(month.number),
            count(month.volume.tokens_per_day),
            *(format_usd(usd) for _, usd in month.usd_by_group),
            _called(month.answer),
        )
        for month in found.months
    )
    return Table(columns, tuple(rows))


def _heading(way: Way) -> str:
    return {Way.CALL: "CALL", Way.CALL_OTHER: "CALL", Way.BUY: "BUY"}.get(way, "SERVE")


def _table(found: Comparison) -> Table:
    columns = ("WAY", "WHAT", "$/MONTH", "$/MTOK", "N", "BUSY", "PRICE OF")
    return Table(columns, tuple(_row(option, found.volume) for option in found.options))


def _row(option: Option, volume: Volume) -> tuple[str, ...]:
    usd, utilization = option.cost.usd_per_month(volume), option.cost.utilization(volume)
    deployments = option.cost.deployments(volume)
    return (
        str(option.way),
        _called(option),
        f"{usd:,.2f}",
        f"{1e6 * usd / volume.tokens_per_month:.3g}",
        "" if deployments is None else str(deployments),
        "" if utilization is None else f"{utilization:.0%}{_mark(option)}",
        str(option.price.as_of or ""),
    )


def _mark(option: Option) -> str:
    return MEASURED if option.speed and option.speed.source is Source.MEASURED else ""


def _called(option: Option) -> str:
    """Without the folders that some APIs put before a model's name."""
    return f"{option.provider} {option.name.rpartition('/')[2]}"


def _asked(volume: Volume) -> str:
    requests = f"{volume.requests_per_day:,.0f} requests a day of {volume.input_tokens:,.0f} tokens in"
    when = f"{volume.hours_per_day:g} h a day, {volume.days_per_month:.3g} days a month"
    peak = f"the busiest hour has {volume.peak:g} times the average"
    tokens = count(volume.tokens_per_day)
    return f"asked: {requests} and {volume.output_tokens:,.0f} out, which is {tokens} tokens a day; {when}; {peak}"


def _break_evens(found: Sequence[BreakEven]) -> Iterator[str]:
    for ranges, names in _grouped((_ranges(one.serving_is_cheaper), _called(one.called)) for one in found):
        yield f"serving {'beats' if ranges else 'never beats'} {names}{ranges or _FAR}"


def _grouped(said: Iterable[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Each text once, and all of whom it is said."""
    names: dict[str, list[str]] = {}
    for text, name in said:
        names.setdefault(text, []).append(name)
    return [(text, ", ".join(dict.fromkeys(those))) for text, those in names.items()]


def _ranges(ranges: Sequence[Range]) -> str:
    """Of more than two only where the first begins and the last gap ends."""
    if not ranges:
        return ""
    first, last = ranges[0], ranges[-1]
    if len(ranges) > 2:
        return f" above {count(first.above)} tokens a day, with gaps up to {count(last.up_to or last.above)}"
    return " and".join(_range(each) for each in ranges)


def _range(each: Range) -> str:
    if each.up_to is None:
        return f" above {count(each.above)} tokens a day" if each.above else " at any volume"
    return f" between {count(each.above)} and {count(each.up_to)} tokens a day"


def _pay_backs(found: Sequence[PayBack], volume: Volume) -> Iterator[str]:
    for one in found:
        usd = one.owned.machines(volume) * one.owned.machine.usd
        bought = f"{_called(one.owned.option)} for {format_usd(usd)}"
        rival = f"{_called(one.rival)}, {one.rival.way} ({format_usd(one.rival.cost.usd_per_month(volume))} a month)"
        after = f"pays back in {one.months:.1f} months" if one.months is not None else "never pays back"
        yield f"{bought} {after} against {rival}"


def _answers(found: Comparison) -> Iterator[str]:
    """The cheapest and, where it changes with the months, when and to what."""
    if found.cheaper_other:
        yield f"another model costs less: {_priced(found.cheaper_other, found.volume)}"
    if not found.answer:
        return
    yield f"the cheapest: {_priced(found.answer, found.volume)}"
    for before, after in pairwise(found.months):
        if after.answer.way is not before.answer.way:
            yield f"from month {after.number} on: {_priced(after.answer, after.volume)}"


def _priced(option: Option, volume: Volume) -> str:
    return f"{option.way}, {_called(option)}, {format_usd(option.cost.usd_per_month(volume))} a month"


def _notes(found: Comparison) -> Iterator[str]:
    for note, names in _grouped((note, _called(option)) for option in found.options for note in option.notes):
        yield f"{names}: {note}"
    for option in found.options:
        if isinstance(option.cost, PerActiveSecond):
            yield f"{_called(option)}: {_cold_starts(option.cost, found.volume)}"


def _cold_starts(cost: PerActiveSecond, volume: Volume) -> str:
    starts = cost.cold_starts_per_day(volume)
    times = "hardly any request waits" if starts < _SELDOM else f"{starts:.3g} requests a day wait"
    return f"{times} for a cold start ({format_duration(round(cost.cold_start_s))}, which bills)"


def _unused(found: Comparison) -> Iterator[str]:
    lines = [f"not {names}: {reason}" for reason, names in _grouped((one.reason, one.name) for one in found.unused)]
    yield from lines[:SHOWN_REASONS]
    if (more := len(lines) - SHOWN_REASONS) > 0:
        yield f"and {more} more reasons (--json has them)"


def _owning(costs: Ownership) -> str:
    power = f"power at {format_usd(costs.usd_per_kwh.value)}/kWh"
    staff = f"{costs.staff_hours_per_month.value:g} h of staff a month at {format_usd(costs.staff_usd_per_hour.value)}"
    life = f"{costs.lifetime_months.value:g} months of life"
    return f"a machine of yours: {power}, {staff}, {life} (change them in prices.yaml; --json has their sources)"


def _sources(found: Comparison, concurrency: int) -> str:
    """What stands behind the figures."""
    estimated = f"speeds are the planner's estimates for up to {concurrency} requests at once"
    if any(_mark(option) for option in found.options):
        estimated = f"BUSY with {MEASURED}: by a benchmark of yours (gpu bench --list); other {estimated}"
    return f"{estimated}; prices are list prices of the day beside them"
