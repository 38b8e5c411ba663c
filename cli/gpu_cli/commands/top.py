"""`gpu top`: what all deployments do at this moment."""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson
from gpu_cli.errors import UserError, as_one
from gpu_cli.exits import Exit
from gpu_cli.ui.output import has_screen, print_message, show
from gpu_cli.units import format_duration

if TYPE_CHECKING:
    from gpu_cli.top.desk import FleetDesk

BETWEEN_LOOKS_S = 1.0
"""A rate takes two."""
LEAST_S = 0.5
"""Between two looks: each asks every engine."""


def top(
    every: Annotated[str, typer.Option("--every", help="Look again after so long.")] = "2s",
    as_json: AsJson = False,
) -> None:
    """Watch what runs: requests, tokens a second, memory, cost, and what ends it.

    Without a terminal, and with --json, it looks once.
    """
    from gpu_cli.commands.here import open_here, the_duration
    from gpu_cli.top.desk import FleetDesk

    every_s = _checked(the_duration("--every", every))
    with open_here() as fleet:
        if has_screen() and not as_json:
            _watch(FleetDesk(fleet), every_s)
        else:
            _look_once(FleetDesk(fleet), as_json=as_json)


def _checked(every_s: float) -> float:
    if every_s < LEAST_S:
        message = f"--every: engines are asked every {format_duration(LEAST_S)} at the most"
        raise UserError(Exit.BAD_INPUT, "usage", message, hint="write a longer time, such as 2s")
    return every_s


def _look_once(desk: "FleetDesk", *, as_json: bool) -> None:
    """Twice, that is, where there is an engine to ask."""
    import time

    from gpu_cli.commands.top_report import top_result

    with closing(desk):
        desk.settle()
        sight = desk.look()
        if any(one.gauges.reading for one in sight.seen):
            time.sleep(BETWEEN_LOOKS_S)
            sight = desk.look()
    show(top_result(sight), as_json=as_json)


def _watch(desk: "FleetDesk", every_s: float) -> None:
    """Until it is left; what is being taken down then is waited for. Raises UserError for what did not end."""
    from gpu_cli.top.app import TopApp

    told = {name: value for name, value in os.environ.items() if name == "NO_COLOR"}
    app = TopApp(desk, every_s)
    os.environ.update(told)  # Textual takes it away, and errors are printed after it
    app.run()
    for deployment in app.work.ending():
        print_message(f"{deployment.name} is being taken down; Ctrl-C leaves that to the guard")
    app.work.await_ends()
    if not_ended := app.work.not_ended():
        raise as_one(not_ended)
    if app.work.broken:
        raise app.work.broken
    if app.interrupted:
        raise KeyboardInterrupt
