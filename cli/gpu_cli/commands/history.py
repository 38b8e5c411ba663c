"""`gpu history`: how starts went, by where they were."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, Provider
from gpu_cli.commands.since import Since, since_at

if TYPE_CHECKING:
    from gpu_cli.fleet.market.experience import Start
    from gpu_cli.ui.output import Table

Place = tuple[str, str, str, int, str, str]
"""Provider, kind, GPU, their number, region and host; the last one is empty where hosts are not told apart."""

_SLOW = 0.9
"""The part of all starts that took no longer than what is shown beside the median."""


def history(
    provider: Provider = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Only this card.")] = None,
    since: Since = None,
    hosts: Annotated[bool, typer.Option("--hosts", help="A row for every machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how starts went at each cloud: how many came up, what failed, and how long each stage took."""
    from gpu_cli.commands.documents import iso
    from gpu_cli.commands.here import open_here
    from gpu_cli.fleet.market.experience import starts
    from gpu_cli.planner.offers.filters import same_card
    from gpu_cli.ui.output import Result, show

    with open_here() as fleet:
        began_at = since_at(since, fleet.clock.now())
        found = [
            start
            for start in starts(fleet.store, since=began_at or 0.0)
            if provider in (None, start.provider) and (gpu is None or same_card(gpu, start.gpu))
        ]
    by_place = _by_place(found, hosts=hosts)
    document = {
        "since": iso(began_at),
        "rows": [_document(place, starts_there) for place, starts_there in by_place.items()],
    }
    messages = () if found else ("no such start is on record",)
    table = _table(by_place, hosts=hosts) if found else None
    show(Result(document, table=table, messages=messages), as_json=as_json)


def _by_place(starts: "Sequence[Start]", *, hosts: bool) -> "Mapping[Place, Sequence[Start]]":
    found: dict[Place, list[Start]] = {}
    for start in starts:
        host = start.host if hosts else ""
        place = (start.provider, str(start.kind), start.gpu, start.gpu_count, start.region, host)
        found.setdefault(place, []).append(start)
    return dict(sorted(found.items()))


def _document(place: Place, starts: "Sequence[Start]") -> Mapping[str, object]:
    provider, kind, gpu, gpu_count, region, host = place
    return {
        "provider": provider,
        "kind": kind,
        "gpu": gpu,
        "gpu_count": gpu_count,
        "region": region,
        "host": host or None,
        "starts": len(starts),
        "worked": sum(start.worked for start in starts),
        "lost": sum(start.lost for start in starts),
        "failed": dict(_failed(starts)),
        "cut_short": sum(not start.outcome for start in starts),
        **{f"{stage}_s": _time_document(seconds) for stage, seconds in _times_s(starts).items()},
    }


def _failed(starts: "Sequence[Start]") -> Mapping[str, int]:
    """By the word for how, the most frequent first."""
    counted = Counter(start.outcome for start in starts if start.outcome and not start.worked)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _times_s(starts: "Sequence[Start]") -> Mapping[str, Sequence[float]]:
    """What was measured of each stage, and of whole starts, shortest first."""
    stages = {
        "boot": [start.boot_s for start in starts],
        "load": [start.load_s for start in starts],
        "start": [start.whole_s for start in starts],
    }
    return {stage: sorted(time for time in times if time is not None) for stage, times in stages.items()}


def _time_document(seconds: Sequence[float]) -> Mapping[str, float] | None:
    if not seconds:
        return None
    return {"median": round(_median(seconds), 3), "p90": round(_p90(seconds), 3)}


def _median(seconds: Sequence[float]) -> float:
    from statistics import median  # slow to import, and `gpu --help` counts nothing

    return median(seconds)


def _p90(seconds: Sequence[float]) -> float:
    """Of sorted ones, the first that is not exceeded by more than a tenth."""
    return seconds[math.ceil(_SLOW * len(seconds)) - 1]


def _table(by_place: "Mapping[Place, Sequence[Start]]", *, hosts: bool) -> "Table":
    from gpu_cli.ui.output import Table

    columns = ("WHERE", "GPU", "REGION", *(("HOST",) if hosts else ()), "STARTS", "WORKED", "FAILED")
    rows = tuple(_row(place, starts, hosts=hosts) for place, starts in by_place.items())
    return Table((*columns, "BOOT", "LOAD", "START"), rows)


def _row(place: Place, starts: "Sequence[Start]", *, hosts: bool) -> tuple[str, ...]:
    provider, kind, gpu, gpu_count, region, host = place
    lost = sum(start.lost for start in starts)
    words = {**_failed(starts), **({"lost": lost} if lost else {})}
    return (
        f"{provider} serverless" if kind == "serverless" else provider,
        gpu if gpu_count < 2 else f"{gpu} x{gpu_count}",
        region,
        *((host,) if hosts else ()),
        str(len(starts)),
        str(sum(start.worked for start in starts)),
        ", ".join(f"{count} {word}" for word, count in words.items()),
        *(_time_in_words(seconds) for seconds in _times_s(starts).values()),
    )


def _time_in_words(seconds: Sequence[float]) -> str:
    """The median, and what nine of ten stay below where there are enough of them to differ."""
    from gpu_cli.units import format_duration

    if not seconds:
        return ""
    median_s, slow_s = round(_median(seconds)), round(_p90(seconds))
    return format_duration(median_s) if slow_s <= median_s else f"{format_duration(median_s)}-{format_duration(slow_s)}"
