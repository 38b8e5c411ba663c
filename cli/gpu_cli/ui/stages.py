"""Progress drawn for people: a live line on a terminal, one plain line a stage elsewhere. Always on stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpu_cli.ui.output import print_message
from gpu_cli.ui.progress import Progress


class Stages:
    """A line when a stage ends, with how long it took; `draw` is shown the running stage, `write` gets what stays."""

    def __init__(
        self,
        write: Callable[[str], None],
        draw: Callable[[str], object] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._draw = draw
        self._clock = clock
        self._stage = ""
        self._since = 0.0

    def stage(self, name: str) -> None:
        """Close the stage before and open this one; naming the open one again changes nothing."""
        if name == self._stage:
            return
        self.close()
        self._stage, self._since = name, self._clock()
        self.detail("")

    def detail(self, text: str) -> None:
        """Show it beside the running stage."""
        self._draw(f"{self._stage:<8} {self._clock() - self._since:6.1f} s  {text}")

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
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    with console.status("") as status:
        live = Stages(
            lambda text: console.print(text, markup=False, soft_wrap=True), lambda text: status.update(escape(text))
        )
        yield live
        live.close()
