"""One place turns results and errors into text: stdout is the answer, stderr is the story."""

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TextIO

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.bars import Bar

DOCUMENT_VERSION = 1


@dataclass(frozen=True)
class Table:
    """Rows of text under column titles. For people only: scripts read the document."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Bar, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A bar with its legend, between sentences. For people only."""

    above: tuple[str, ...]
    bar: Bar | None
    below: tuple[str, ...]
    to_copy: str = ""
    """A last line that is never broken."""


@dataclass(frozen=True)
class Result:
    """What a command came to: a document for scripts, and text or a table for people."""

    document: Mapping[str, object]
    """JSON keys written by hand; `version` is added when it is printed."""
    stdout: str = ""
    table: Table | None = None
    figure: Callable[[int, bool], str] | None = None
    """Drawn below the table on a terminal, and there only: it is given the columns, and whether there is colour."""
    drawings: tuple[Drawing, ...] = ()
    prose: tuple[str, ...] = ()
    """Sentences for people, on stderr; a terminal gets them broken between words."""
    messages: tuple[str, ...] = field(default=())
    """Lines for people, on stderr, as they are: what is in them may be copied."""
    exit_status: Exit = Exit.DONE


def show(result: Result, *, as_json: bool) -> None:
    """Print it, and end the program with its status when that is not 0."""
    print_prose(result.prose)
    for message in result.messages:
        print(message, file=sys.stderr)
    if as_json:
        print_document(result.document)
    elif result.table is not None:
        _draw(result.table, sys.stdout)
        if result.figure and (columns := _columns(sys.stdout)):
            print(f"\n{result.figure(columns, _is_colourful())}")
    elif result.drawings:
        print("\n\n".join(_drawn(drawing) for drawing in result.drawings))
    elif result.stdout:
        print(result.stdout)
    sys.stdout.flush()  # a reader that has gone is met here, not at the interpreter's exit, which would complain
    if result.exit_status is not Exit.DONE:
        import typer  # which the guard, that prints too, does without

        raise typer.Exit(int(result.exit_status))


def print_document(document: Mapping[str, object]) -> None:
    """Exactly one JSON document, on stdout."""
    print(json.dumps({"version": DOCUMENT_VERSION, **document}, indent=2, ensure_ascii=False))


def print_message(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr, flush=True)


def print_prose(sentences: Iterable[str]) -> None:
    """For people; a terminal gets them broken between words."""
    for sentence in sentences:
        print(_folded(sentence, sys.stderr), file=sys.stderr)


def print_table(table: Table) -> None:
    """For people, where the answer is something else: on stderr."""
    _draw(table, sys.stderr)


def print_line(text: str, *, end: str = "\n") -> None:
    """A piece of the answer itself, as it comes (logs, a chat)."""
    print(text, end=end, flush=True)


def show_error(error: UserError, *, as_json: bool) -> None:
    """What happened and what to do, for people; the same as a document when JSON was asked for."""
    print_message(f"{_red('error:')} {error.message}")
    if error.still_billing:
        print_message(f"{_red('still billing:')} {', '.join(error.still_billing)}")
    if error.hint:
        print_message(f"hint: {error.hint}")
    if as_json:
        print_document(
            {
                **error.document,
                "error": {
                    "code": error.code,
                    "exit": int(error.exit_status),
                    "message": error.message,
                    "hint": error.hint,
                    "still_billing": list(error.still_billing),
                },
            }
        )


def has_screen() -> bool:
    """Whether somebody sits at a terminal that can be drawn on, and typed at."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _red(text: str) -> str:
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return f"\x1b[1;31m{text}\x1b[0m" if coloured else text


def _is_colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _drawn(drawing: Drawing) -> str:
    above, below = ([_folded(text, sys.stdout) for text in texts] for texts in (drawing.above, drawing.below))
    bar = _drawn_bar(drawing.bar) if drawing.bar else []
    return "\n".join((*above, *bar, *below, *filter(None, (drawing.to_copy,))))


def _drawn_bar(bar: Bar) -> list[str]:
    columns, colour = _columns(sys.stdout), _is_colourful()
    narrow = replace(bar, width=min(bar.width, columns or bar.width))
    return [narrow.text(colour=colour), narrow.legend(colour=colour, columns=columns)]


def _folded(text: str, stream: TextIO) -> str:
    """On a terminal, broken between words, and what follows indented."""
    columns = _columns(stream)
    if not columns:
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _columns(stream: TextIO) -> int:
    """Width of the terminal; 0 for what is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # a stream that is a file, or none of the system's
        return 0


def _draw(table: Table, stream: TextIO) -> None:
    if not stream.isatty() or _narrowest(table) > _columns(stream):
        _draw_plain(table, stream)
        return
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = _columns(stream)
    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(table.columns, column_widths(table, columns), strict=True):
        drawn.add_column(column, width=width)
    for row in table.rows:
        drawn.add_row(*(Text(cell) if isinstance(cell, str) else Text.from_ansi(_bar(cell)) for cell in row))
    Console(file=stream, width=columns).print(drawn)


def column_widths(table: Table, columns: int) -> list[int]:
    """As wide as what is in it; where all are too wide, narrower where the fewest cells are wrapped. Only what has
    spaces is: a URL or a name that is broken in two cannot be copied.
    """
    lengths = [[_length(cell) for cell in cells] for cells in _by_column(table)]
    widths = [max(each) for each in lengths]
    least = [max(map(_longest_word, cells)) for cells in _by_column(table)]

    def wrapped(position: int) -> tuple[int, int]:
        return sum(length >= widths[position] for length in lengths[position]), least[position] - widths[position]

    while sum(widths) + 2 * len(widths) - 2 > columns:
        widths[min((each for each, width in enumerate(widths) if width > least[each]), key=wrapped)] -= 1
    return widths


def _narrowest(table: Table) -> int:
    """How many columns of a terminal it takes at the least: in fewer, letters and whole columns would be cut off."""
    return sum(2 + max(map(_longest_word, cells)) for cells in _by_column(table)) - 2


def _by_column(table: Table) -> Iterable[tuple[str | Bar, ...]]:
    return zip(table.columns, *table.rows, strict=True)


def _length(cell: str | Bar) -> int:
    return len(cell) if isinstance(cell, str) else cell.width


def _longest_word(cell: str | Bar) -> int:
    return max(map(len, cell.split()), default=0) if isinstance(cell, str) else cell.width


def _bar(bar: Bar) -> str:
    return bar.text(colour=_is_colourful())


def _draw_plain(table: Table, stream: TextIO) -> None:
    """Aligned columns without wrapping or colour, so that a pipe sees whole values."""
    rows = (
        table.columns,
        *(tuple(cell if isinstance(cell, str) else _bar(cell) for cell in row) for row in table.rows),
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=stream)
