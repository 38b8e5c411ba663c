"""What is laid over the table: a log, a question, and the keys."""

import threading
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, RichLog, Static

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.top.desk import Desk
from gpu_cli.units import format_usd

LONGEST_LOG = 5000
"""Lines that are kept of what was shown."""
KEYS = """\
up, down    choose a deployment
l           follow its log
d           take it down
q           back, or quit

RUN, WAIT   requests that are worked on, and that wait
IN/S OUT/S  tokens a second, of prompts and of answers
KV          share of the KV cache that is in use
PREFIX      share of prompt tokens that the cache had
PREEMPTED   requests that lost their place in the cache
ENDS        what ends it first, if no more work comes

- is what is not known: of what starts, and of what
scales to zero, which asking would wake."""


class LogScreen(Screen[None]):
    """Follows one log until it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,l", "app.pop_screen", "back")]

    @dataclass
    class Said(Message):
        """A line has come."""

        line: str

    def __init__(self, desk: Desk, deployment: Deployment) -> None:
        super().__init__()
        self._desk = desk
        self._deployment = deployment
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        """Its name above, the keys below."""
        yield Static(f"log of {self._deployment.name}", classes="heading", markup=False)
        yield RichLog(max_lines=LONGEST_LOG, wrap=True, markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """A thread reads, because a cloud may take its time."""
        self.query_one(RichLog).focus()
        threading.Thread(target=self._follow, name="log", daemon=True).start()

    def on_unmount(self) -> None:
        """The thread ends with the next line."""
        self._left.set()

    def on_log_screen_said(self, said: Said) -> None:
        """Below what was said before."""
        self.query_one(RichLog).write(Text.from_ansi(said.line))

    def _follow(self) -> None:
        try:
            for line in self._desk.logs(self._deployment, self._left.is_set):
                if self._left.is_set():
                    return
                self.post_message(self.Said(line))
            self.post_message(self.Said("-- the log ends here --"))
        except Exception as error:  # noqa: BLE001 - a log that cannot be read is no reason to end the view
            self.post_message(self.Said(f"-- {error} --"))


class TakeDownQuestion(ModalScreen[bool]):
    """Whether that is meant: Enter is no answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "take it down"),
        Binding("n,escape,q", "dismiss(False)", "leave it"),
    ]

    def __init__(self, deployment: Deployment, spent_usd: float) -> None:
        super().__init__()
        self._deployment = deployment
        self._spent_usd = spent_usd

    def compose(self) -> ComposeResult:
        """What it is, and the keys that answer."""
        one = self._deployment
        where = (
            f"{one.provider} {one.gpu}, {format_usd(one.price_usd_per_hour)}/h, {format_usd(self._spent_usd)} so far"
        )
        yield Static(f"Take down {one.name}?\n{where}\n\ny  take it down\nn  leave it", classes="box", markup=False)


class KeysScreen(ModalScreen[None]):
    """What the keys do, and what the columns mean."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "back")]

    def compose(self) -> ComposeResult:
        """All in one box."""
        yield Static(KEYS, classes="box", markup=False)
