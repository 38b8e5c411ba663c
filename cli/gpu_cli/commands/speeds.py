"""Speeds in the answers of `gpu plan` and `gpu fit`: measured, or estimated."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_cli.planner.measured import Measured

MEASURED = "*"
"""Behind a figure in a table that is no estimate."""


def speed_source(measured: "Measured | None", *, is_estimated: bool) -> Mapping[str, object]:
    """Where the tokens a second of a document, and so their price, are from."""
    if measured is None:
        return {"speed_source": "estimated" if is_estimated else None, "measured_at": None}
    at = datetime.fromtimestamp(measured.at, UTC)
    return {"speed_source": "measured", "measured_at": at.isoformat(timespec="seconds").replace("+00:00", "Z")}
