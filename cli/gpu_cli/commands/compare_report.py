"""A comparison, for people."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.commands.compare_document import comparison_document, ownership_document
from gpu_cli.commands.plan_report import price_ages, providers_document, silent_providers
from gpu_cli.compare.break_even import MOST_DEPLOYMENTS, Range
from gpu_cli.compare.comparison import BreakEven, Comparison, PayBack
from gpu_cli.compare.costs import Cost, PerActiveSecond
from gpu_cli.compare.options import OLD_AFTER, Option, Source, Way
from gpu_cli.compare.price_table import Ownership
from gpu_cli.compare.volume import Volume
from gpu_cli.plots.words import count
from gpu_cli.ui.output import Result, Table
from gpu_cli.units import format_duration, format_usd

if TYPE_CHECKING:
    from gpu_cli.compare.study import Study
    from gpu_cli.fleet.launch.launch import Wanted

SHOWN_REASONS = 4
_SHOWN: Mapping[Way, int] = {Way.CALL_OTHER: 2, Way.REFERENCE: 3}
"""Of these only so many, the cheapest."""
_NAMES_SHOWN = 3
_NO_CENTS = 1000
_SELDOM = 0.01
_OLD = "old"
_FAR = f" (looked at up to {MOST_DEPLOYMENTS} deployments)"


def comparison_result(
    found: Comparison, wanted: "Wanted", study: "Study", files: Sequence[Path], *, everything: bool
) -> Result:
    """All ways as a table, and all there is to say of them as a document."""
    document = {
        **comparison_document(found, wanted.recipe.name, files),
        "concurrency": study.concurrency,
        "ownership": ownership_document(study.catalogue.prices.ownership) if study.cards else None,
        "providers": providers_document(study.market),
    }
    columns = ("WAY", "WHAT", "$/MONTH", "$/MTOK", "BUSY", "PRICE / SPEED")
    return Result(document, table=Table(columns, tuple(_row(option, found) for option in _shown(found, everything))))


def story(found: Comparison, wanted: "Wanted", study: "Study", *, everything: bool) -> Sequence[str]:
    """What there is to say of the table, what matters most first."""
    shown = _shown(found, everything)
    return (
        *_answers(found),
        *_break_evens([one for one in found.break_evens if one.called in shown]),
        *_pay_backs(found.pay_backs, found.volume),
        *(_owning(study.catalogue.prices.ownership) for _ in found.pay_backs[:1]),
        *_notes(shown, found.volume),
        _asked(found.volume),
        *(f"by default: {text}" for text in wanted.defaults),
        *_sources(shown, found, study.concurrency),
        *price_ages(study.market),
        *silent_providers(study.market),
        *_left_out(found, shown, everything=everything),
    )


def _shown(found: Comparison, everything: bool) -> Sequence[Option]:
    seen = Counter[Way]()
    shown = []
    for option in found.options:
        seen[option.way] += 1
        if everything or seen[option.way] <= _SHOWN.get(option.way, len(found.options)):
            shown.append(option)
    return shown


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


def _row(option: Option, found: Comparison) -> tuple[str, ...]:
    volume, usd = found.volume, option.cost.usd_per_month(found.volume)
    return (
        str(option.way),
        _called(option),
        f"{usd:,.2f}" if usd < _NO_CENTS else f"{usd:,.0f}",
        f"{1e6 * usd / volume.tokens_per_month:.3g}",
        _busy(option.cost, volume),
        _figures(option, found.day),
    )


def _busy(cost: Cost, volume: Volume) -> str:
    """`31%`, or `46% of 4` deployments."""
    utilization, deployments = cost.utilization(volume), cost.deployments(volume)
    if utilization is None or deployments is None:
        return ""
    return f"{utilization:.0%} of {deployments}" if deployments > 1 else f"{utilization:.0%}"


def _figures(option: Option, today: date) -> str:
    """Where they are from, and of which day."""
    price = f"list {option.price.as_of}{f' {_OLD}' if option.price.is_old(today) else ''}"
    if option.speed is None:
        return price
    return f"{price} / {option.speed.source}{f' {option.speed.as_of}' if option.speed.as_of else ''}"


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


def _grouped(said: Iterable[tuple[str, str]], most: int | None = None) -> Sequence[tuple[str, str]]:
    """Each text once, and of whom it is said: all, or so many of them and how many more."""
    names: dict[str, dict[str, None]] = {}
    for text, name in said:
        names.setdefault(text, {})[name] = None
    return [(text, _listed(list(those), most or len(those))) for text, those in names.items()]


def _listed(names: Sequence[str], most: int) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _ranges(ranges: Sequence[Range]) -> str:
    """Of more than two only where the first begins and up to where it is not all that follows."""
    if not ranges:
        return ""
    first, last = ranges[0], ranges[-1]
    if len(ranges) > 2:
        return f" above {count(first.above)} tokens a day, but not all the way to {count(last.up_to or last.above)}"
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
    if found.answer:
        yield f"the cheapest: {_priced(found.answer, found.volume)}"
    for before, after in pairwise(found.months):
        if after.answer.way is not before.answer.way:
            yield f"from month {after.number} on: {_priced(after.answer, after.volume)}"
    if found.cheaper_other:
        said = "another model costs less" if found.answer else "there is no way to this very model, but to another one"
        yield f"{said}: {_priced(found.cheaper_other, found.volume)}"


def _priced(option: Option, volume: Volume) -> str:
    return f"{option.way}, {_called(option)}, {format_usd(option.cost.usd_per_month(volume))} a month"


def _notes(shown: Sequence[Option], volume: Volume) -> Iterator[str]:
    """Of closed models nothing: they are for reference (--json has it)."""
    noted = ((note, _called(one)) for one in shown if one.way is not Way.REFERENCE for note in one.notes)
    for note, names in _grouped(noted):
        yield f"{names}: {note}"
    for option in shown:
        if isinstance(option.cost, PerActiveSecond):
            yield f"{_called(option)}: {_cold_starts(option.cost, volume)}"


def _cold_starts(cost: PerActiveSecond, volume: Volume) -> str:
    starts = cost.cold_starts_per_day(volume)
    times = "hardly any request waits" if starts < _SELDOM else f"{starts:.3g} requests a day wait"
    return f"{times} for a cold start ({format_duration(round(cost.cold_start_s))}, which bills)"


def _left_out(found: Comparison, shown: Sequence[Option], *, everything: bool) -> Iterator[str]:
    most = None if everything else _NAMES_SHOWN
    grouped = _grouped(((one.reason, one.name) for one in found.unused), most)
    reasons = [f"not {names}: {reason}" for reason, names in grouped]
    yield from reasons if everything else reasons[:SHOWN_REASONS]
    rows, more = len(found.options) - len(shown), len(reasons) - SHOWN_REASONS
    counted = [f"{number} more {what}" for number, what in ((rows, "rows"), (more, "reasons")) if number > 0]
    if counted and not everything:
        yield f"and {' and '.join(counted)}: --all shows them"


def _owning(costs: Ownership) -> str:
    power = f"power at {format_usd(costs.usd_per_kwh.value)}/kWh"
    staff = f"{costs.staff_hours_per_month.value:g} h of staff a month at {format_usd(costs.staff_usd_per_hour.value)}"
    life = f"{costs.lifetime_months.value:g} months of life"
    return (
        f"a machine of yours: {power}, {staff}, {life} (change them in prices.yaml; --json has source and day of each)"
    )


def _sources(shown: Sequence[Option], found: Comparison, concurrency: int) -> Iterator[str]:
    """What stands behind the figures."""
    speeds = {option.speed.source for option in shown if option.speed}
    if Source.ESTIMATED in speeds:
        yield f"estimated: a speed by the planner, for up to {concurrency} requests at once"
    if Source.MEASURED in speeds:
        yield "measured: a speed by a benchmark of yours (gpu bench --list)"
    if any(option.price.is_old(found.day) for option in shown):
        yield f"{_OLD}: a list price of more than {OLD_AFTER.days} days ago; look it up again"
