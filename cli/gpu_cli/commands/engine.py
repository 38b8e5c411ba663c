"""`gpu engine`: the engines installed on this machine."""

import os
from typing import Annotated

import typer

from gpu_cli.commands.options import AsJson

engine_app = typer.Typer(
    help="The engines, and the load generator, installed on this machine.", no_args_is_help=True, rich_markup_mode=None
)


def _complete_key(incomplete: str) -> list[str]:
    from gpu_cli.engine.environment import Engines
    from gpu_cli.paths import Paths

    engines = Engines(Paths.from_environ(os.environ).cache).installed()
    return [engine.key for engine in engines if engine.key.startswith(incomplete)]


@engine_app.command()
def ls(as_json: AsJson = False) -> None:
    """Show the installed engines, their size and whether they are complete."""
    from gpu_cli.engine.environment import Engines
    from gpu_cli.paths import Paths
    from gpu_cli.ui.output import Result, Table, show

    engines = Engines(Paths.from_environ(os.environ).cache).installed()
    rows = tuple(
        (
            engine.key,
            engine.purpose,
            "yes" if engine.complete else "no",
            f"{engine.size_gib:.1f}" if engine.complete else "",
            engine.python,
            f"{engine.installed_at:%Y-%m-%d %H:%M} UTC" if engine.installed_at else "",
        )
        for engine in engines
    )
    document = {
        "engines": [
            {
                "key": engine.key,
                "purpose": engine.purpose,
                "complete": engine.complete,
                "size_gib": engine.size_gib,
                "python": engine.python,
                "installed_at": engine.installed_at.isoformat() if engine.installed_at else None,
            }
            for engine in engines
        ]
    }
    table = Table(("ENGINE", "FOR", "COMPLETE", "GIB", "PYTHON", "INSTALLED"), rows)
    messages = () if engines else ("no engine is installed; gpu up installs the one that it needs",)
    show(Result(document, table=table if engines else None, messages=messages), as_json=as_json)


@engine_app.command()
def rm(
    key: Annotated[str, typer.Argument(help="As gpu engine ls lists it.", autocompletion=_complete_key)],
    as_json: AsJson = False,
) -> None:
    """Remove an engine, or the load generator; what needs it next installs it again."""
    from gpu_cli.engine.environment import Engines
    from gpu_cli.paths import Paths
    from gpu_cli.ui.output import Result, show

    Engines(Paths.from_environ(os.environ).cache).remove(key)
    show(Result({"removed": key}, messages=(f"removed {key}",)), as_json=as_json)
