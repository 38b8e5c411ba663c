"""`--since`: from a day on, or from so long ago."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

Since = Annotated[str | None, typer.Option("--since", help="Only from then on: 7d ago, or the day 2026-11-01.")]


def since_at(text: str | None, now: float) -> float | None:
    """Seconds since the epoch, from `7d` or `2026-11-01` (which begins at midnight, UTC); None for none.

    Raises UserError `usage` for anything else.
    """
    from gpu_cli.units import parse_duration

    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except ValueError:
        message = f"--since: {text!r} is neither a length of time nor a day"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="write it as 7d, 12h or 2026-11-01") from None
