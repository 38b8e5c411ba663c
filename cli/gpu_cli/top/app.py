"""The live view: it draws what the desk says, and its keys."""

import asyncio
import signal
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from gpu_cli.errors import UserError
from gpu_cli.top.desk import Desk
from gpu_cli.top.details import details
from gpu_cli.top.drawing import SCROLLBAR, STYLES, drawn_details, drawn_heading, drawn_notes
from gpu_cli.top.screens import KeysScreen, LogScreen, TakeDownQuestion
from gpu_cli.top.sight import Sight, problems
from gpu_cli.top.table import FleetTable
from gpu_cli.top.work import Broke, Ended, Looked, LookFailed, NotEnded, Work
from gpu_cli.units import format_usd

NOTHING_RUNS = "nothing is running; start one: gpu up RECIPE"
OF_THE_TABLE = ("logs", "take_down", "keys")
_REMEMBERED = 30
"""Looks, of which the tokens/s are drawn."""


class TopApp(App[None]):
    """Runs until it is left. What it could not end, and what broke it, is in `work`, for the caller to tell."""

    CSS = STYLES
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "logs", "logs"),
        Binding("d", "take_down", "take down"),
        Binding("question_mark", "keys", "keys"),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "interrupt", "interrupt", show=False, priority=True),
    ]

    def __init__(self, desk: Desk, every_s: float) -> None:
        super().__init__(ansi_color=True)
        self.interrupted = False
        self.work = Work(desk, every_s, self.post_message)
        self._desk = desk
        self._sight: Sight | None = None
        self._trouble = ""
        self._noted: Sequence[str] = ()
        self._history: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self._heading, self._notes, self._details = (Static(id=name) for name in ("heading", "notes", "details"))
        self._table = FleetTable()

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield self._heading
        yield self._table
        yield self._notes
        yield self._details
        yield Footer()

    def on_mount(self) -> None:
        """The colours are the terminal's own, so that it is as light or as dark."""
        self.theme = "ansi-dark"
        self._heading.update("looking ...")
        self._notes.display = False
        self._table.focus()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.action_interrupt)
        self.work.start()

    def on_unmount(self) -> None:
        """Nobody sees what comes now."""
        self.work.stop()

    def on_resize(self, _: events.Resize) -> None:
        """Other columns may have room."""
        self._draw()

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Its details are shown."""
        self._draw_details()

    def on_looked(self, looked: Looked) -> None:
        """The rates of before are kept, to be drawn."""
        self._sight, self._trouble = looked.sight, ""
        for one in looked.sight.seen:
            if one.gauges.output_tokens_per_s is not None:
                self._history[one.deployment.resource_name].append(one.gauges.output_tokens_per_s)
        self.work.forget_what_has_ended(looked.sight)
        self._draw()

    def on_look_failed(self, failed: LookFailed) -> None:
        """Until the next look."""
        self._trouble = _in_one_line(failed.error)
        self._draw()

    def on_ended(self, ended: Ended) -> None:
        """Told in passing."""
        one = ended.deployment
        self.notify(f"{one.name} is gone; it cost {format_usd(one.spent_usd(one.ended_at or 0.0))}")

    def on_not_ended(self, _: NotEnded) -> None:
        """It stays on the screen, and is told once more at the end."""
        self._draw()

    def on_broke(self, _: Broke) -> None:
        """Nothing to show any more."""
        self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:  # noqa: ARG002 - as its base has it
        """Keys that are about the chosen one, which a log hides, and which may be another one by now."""
        return action not in OF_THE_TABLE or len(self.screen_stack) == 1

    def action_interrupt(self) -> None:
        """Ctrl-C, and the signals that ask to end."""
        self.interrupted = True
        self.exit()

    def action_keys(self) -> None:
        """What the keys do."""
        self.push_screen(KeysScreen())

    def action_logs(self) -> None:
        """Of the chosen one."""
        if one := self._table.chosen:
            self.push_screen(LogScreen(self._desk, one.deployment))

    def action_take_down(self) -> None:
        """The chosen one, when that is confirmed."""
        one = self._table.chosen
        if one is None or self._sight is None or one.deployment.name in self._ending():
            return
        deployment = one.deployment

        def answered(yes: bool | None) -> None:
            if yes:
                self.work.take_down(deployment)
                self._draw()

        self.push_screen(TakeDownQuestion(deployment, deployment.spent_usd(self._sight.at)), answered)

    def _ending(self) -> Sequence[str]:
        return [deployment.name for deployment in self.work.ending()]

    def _draw(self) -> None:
        if self._sight is not None:
            self._heading.update(drawn_heading(self._sight), layout=False)
            self._table.show(self._sight, self.size.width - SCROLLBAR)
            self._draw_details()
        self._draw_notes(self._said())

    def _draw_notes(self, said: Sequence[str]) -> None:
        """Only when they are others: the whole screen is laid out anew."""
        if said != self._noted:
            self._noted = said
            self._notes.display = bool(said)
            self._notes.update(drawn_notes(said))

    def _draw_details(self) -> None:
        one = self._table.chosen
        self._details.display = one is not None
        if one and self._sight:
            history = self._history[one.deployment.resource_name]
            self._details.update(drawn_details(details(one, self._sight.at, history)), layout=False)

    def _said(self) -> Sequence[str]:
        """What is wrong, and what is under way."""
        nothing = self._sight is not None and not self._sight.seen
        said = [
            NOTHING_RUNS if nothing else "",
            *map(_in_one_line, self.work.not_ended()),
            *(f"{name}: being taken down, until its cloud says that it is gone" for name in self._ending()),
            self._trouble,
            *(problems(self._sight) if self._sight else ()),
        ]
        return [line for line in dict.fromkeys(said) if line]


def _in_one_line(error: UserError) -> str:
    return "; ".join(filter(None, (error.message, error.hint)))
