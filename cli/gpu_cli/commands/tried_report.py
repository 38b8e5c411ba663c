"""What was tried on the way to an endpoint, told once when that is over."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.ui.output import Table, print_table
from gpu_cli.units import format_duration, format_usd

if TYPE_CHECKING:  # slow to import
    from gpu_cli.fleet.launch.policy import Attempt

_COLUMNS = ("TRIED", "GPU", "REGION", "$/H", "TIME", "COST", "WHAT HAPPENED")


@contextmanager
def told_in_the_end(tried: "list[Attempt]") -> Iterator[None]:
    """People get a table when it failed, was interrupted, or more than one was tried; scripts get `tried` with every
    error.
    """
    try:
        yield
    except UserError as error:
        from gpu_cli.fleet.launch.attempts import tried_document

        _tell(tried)
        error.document = {**error.document, "tried": tried_document(tried)}
        raise
    except KeyboardInterrupt:
        _tell(tried)
        raise
    if len(tried) > 1:
        _tell(tried)


def _tell(tried: "Sequence[Attempt]") -> None:
    alike: dict[tuple[str, ...], list[Attempt]] = {}
    for attempt in tried:
        alike.setdefault((attempt.offer.offer_id, _happened(attempt)), []).append(attempt)
    if alike:
        print_table(Table(_COLUMNS, tuple(_row(attempts) for attempts in alike.values())))


def _row(attempts: "Sequence[Attempt]") -> tuple[str, ...]:
    """Of what was tried again and again and came to the same."""
    offer, times = attempts[0].offer, f" ({len(attempts)} times)" if len(attempts) > 1 else ""
    return (
        offer.provider,
        offer.gpu if offer.gpu_count < 2 else f"{offer.gpu} x{offer.gpu_count}",
        _in_short(offer.region),
        format_usd(offer.price_usd_per_hour),
        format_duration(round(sum(attempt.seconds for attempt in attempts))),
        format_usd(sum(attempt.cost_usd for attempt in attempts)),
        _happened(attempts[0]) + times,
    )


def _happened(attempt: "Attempt") -> str:
    if attempt.error and attempt.failure:
        return f"{attempt.failure.word}: {attempt.error.message}"
    return attempt.outcome


def _in_short(region: str) -> str:
    """Some offers may be in any of a dozen regions."""
    first, *others = region.split(", ")
    return f"{first} or {len(others)} others" if len(others) > 1 else region
