"""How the live view looks, in the sixteen colours that the terminal itself has: on light ground and on dark."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from gpu_cli.fleet.deployment import State
from gpu_cli.top.columns import NOTHING_ENDS_IT, Column
from gpu_cli.top.sight import Sight
from gpu_cli.units import format_usd

STYLES = """
Screen { background: ansi_default; overflow: hidden; }
#heading, .heading { text-style: bold; padding: 0 1; height: 1; }
#notes { color: ansi_red; padding: 0 1; height: auto; max-height: 30%; }
#details { height: 1fr; padding: 1 1 0 1; }
DataTable { max-height: 50%; scrollbar-size: 0 1; background: ansi_default; color: ansi_default; }
DataTable > .datatable--header { background: ansi_default; color: ansi_default; text-style: bold underline; }
DataTable > .datatable--cursor, DataTable:focus > .datatable--cursor {
    background: ansi_default; color: ansi_default; text-style: reverse;
}
RichLog { background: ansi_default; }
ModalScreen { align: center middle; background: transparent; }
.box { width: auto; max-width: 100%; height: auto; padding: 1 2; border: round ansi_default; background: ansi_default; }
Footer { background: ansi_default; }
"""
SCROLLBAR = 1
"""How wide it is beside the table."""
_STATES = {State.READY: "green", State.DRAINING: "yellow", State.TERMINATING: "red"}
_STARTING = "yellow"


def drawn_heading(sight: Sight) -> Text:
    """How many there are, what they cost, and when that was so."""
    count = len(sight.seen)
    at = datetime.fromtimestamp(sight.at, UTC).strftime("%H:%M:%S UTC")
    costs = f"{format_usd(sight.usd_per_hour())}/h, {format_usd(sight.spent_usd())} so far"
    return Text(f"{count} {'deployment' if count == 1 else 'deployments'}   {costs}   {at}")


def drawn_cell(column: Column, text: str) -> Text:
    """Numbers stand with their last digits below one another."""
    justify: JustifyMethod = "right" if column.is_number else "left"
    return Text(text, justify=justify, style=_style(column, text), overflow="ellipsis", no_wrap=True)


def drawn_notes(lines: Sequence[str]) -> Text:
    """One below the other."""
    return Text("\n".join(lines))


def drawn_details(lines: Sequence[tuple[str, str]]) -> Table:
    """What it is at the left, how it is at the right."""
    grid = Table.grid(padding=(0, 2))
    for what, how in lines:
        grid.add_row(Text(what, style="bold"), Text(how, style=_alarm(how)))
    return grid


def _style(column: Column, text: str) -> str:
    if column.title == "STATE" and text != column.title:
        return _STATES.get(State(text.split()[0]), _STARTING)
    return _alarm(text)


def _alarm(text: str) -> str:
    return "bold red" if text == NOTHING_ENDS_IT else ""
