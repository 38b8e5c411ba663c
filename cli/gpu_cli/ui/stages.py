"""Progress drawn for people: a live line on a terminal, one plain line a stage elsewhere. Always on stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpu_cli.ui.output import print_message
from gpu_cli.ui.progress import Progress


class Stages:
    """A line when a stage ends, with how long it took: `write` gets what stays, `line` is the running stage."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._stage = ""
        self._detail = ""
        self._since = 0.0

    def line(self) -> str:
        """The running stage as it is at this moment: time passes on a terminal also while nothing is told."""
        return f"{self._stage:<8} {self._clock() - self._since:6.1f} s  {self._detail}" if self._stage else ""

    def stage(self, name: str) -> None:
        """Close the stage before and open this one; naming the open one again changes nothing."""
        if name == self._stage:
            return
        self.close()
        self._stage, self._since, self._detail = name, self._clock(), ""

    def detail(self, text: str) -> None:
        """Show it beside the running stage."""
        self._detail = text

    def note(self, text: str) -> None:
        """Print it as it is."""
        self._write(text)

    def close(self) -> None:
        """The present stage is done."""
        if self._stage:
            self._write(f"{self._stage:<8} {self._clock() - self._since:6.1f} s")
        self._stage = ""


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Progress for the length of one command; the last stage is closed only when the command succeeds."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        plain = Stages(print_message)
        yield plain
        plain.close()
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    console, spinner = Console(stderr=True, highlight=False), Spinner("dots")
    live = Stages(lambda text: console.print(text, markup=False, soft_wrap=True))

    def draw() -> Table:
        row = Table.grid(padding=(0, 1))
        row.add_row(spinner, Text(live.line(), no_wrap=True, overflow="ellipsis"))
        return row

    with Live(get_renderable=draw, console=console, refresh_per_second=8, transient=True):
        yield live
        live.close()
