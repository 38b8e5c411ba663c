"""The Typer app: wiring only. Commands import what they need when they run, so that `gpu --help` stays fast."""

import os
import sys
from typing import Annotated

import typer

from gpu_cli import __version__
from gpu_cli.commands.adopt import adopt
from gpu_cli.commands.bench import bench
from gpu_cli.commands.chat import chat
from gpu_cli.commands.check import check
from gpu_cli.commands.compare import compare
from gpu_cli.commands.config import config_app
from gpu_cli.commands.cost import cost
from gpu_cli.commands.doctor import doctor
from gpu_cli.commands.down import down
from gpu_cli.commands.engine import engine_app
from gpu_cli.commands.env import env
from gpu_cli.commands.fit import fit
from gpu_cli.commands.gc import gc
from gpu_cli.commands.gpus import gpus
from gpu_cli.commands.guard import guard_app
from gpu_cli.commands.history import history
from gpu_cli.commands.logs import logs
from gpu_cli.commands.ls import ls
from gpu_cli.commands.offers import offers
from gpu_cli.commands.plain_flags import PlainCommand, PlainGroup
from gpu_cli.commands.plan import plan
from gpu_cli.commands.recipe import recipe_app
from gpu_cli.commands.recipes import recipes
from gpu_cli.commands.run import run
from gpu_cli.commands.ssh import ssh
from gpu_cli.commands.top import top
from gpu_cli.commands.up import up
from gpu_cli.commands.url import url
from gpu_cli.commands.volume import volume_app
from gpu_cli.commands.wait import wait
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.ui.output import show_error

# Rich's help takes longer to import than the rest of the program.
app = typer.Typer(
    name="gpu",
    cls=PlainGroup,
    help="An open model on a rented GPU in one command, and never a bill left behind.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    up,
    down,
    ls,
    top,
    url,
    env,
    logs,
    ssh,
    run,
    bench,
    chat,
    check,
    wait,
    fit,
    plan,
    compare,
    offers,
    gpus,
    recipes,
    doctor,
    gc,
    adopt,
    history,
    cost,
):
    app.command(cls=PlainCommand)(command)
app.add_typer(recipe_app, name="recipe")
app.add_typer(config_app, name="config")
app.add_typer(engine_app, name="engine")
app.add_typer(volume_app, name="volume")
app.add_typer(guard_app, name="guard")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something unexpected fails.")] = False,
) -> None:
    """An open model on a rented GPU in one command, and never a bill left behind."""
    if debug:
        os.environ["GPU_DEBUG"] = "1"


def main() -> None:
    """Run `gpu` and end the process with the exit status that scripts are promised."""
    as_json = "--json" in _own_arguments(sys.argv[1:])
    sys.exit(_run(as_json))


def _run(as_json: bool) -> int:
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        return _fail(error, as_json)
    except typer.TyperException as error:
        return _fail(UserError(Exit.BAD_INPUT, "usage", error.format_message(), hint="see gpu --help"), as_json)
    except typer.Abort:
        return _fail(UserError(Exit.INTERRUPTED, "interrupted", "interrupted"), as_json)
    except SystemExit:
        # Typer's own way out, with status 1, when the reader of our stdout has gone (`gpu logs | head`).
        return int(Exit.DONE)
    except Exception as error:
        if "GPU_DEBUG" in os.environ:
            raise
        message = f"unexpected failure: {type(error).__name__}: {error}"
        return _fail(UserError(Exit.BUG, "bug", message, hint="run it again with gpu --debug and report it"), as_json)
    if status == Exit.INTERRUPTED:  # Typer has caught the KeyboardInterrupt
        return _fail(UserError(Exit.INTERRUPTED, "interrupted", "interrupted"), as_json)
    return status if isinstance(status, int) else int(Exit.DONE)


def _fail(error: UserError, as_json: bool) -> int:
    show_error(error, as_json=as_json)
    return int(error.exit_status)


def _own_arguments(arguments: list[str]) -> list[str]:
    """What stands before `--`: the rest belongs to the command that `gpu run` starts."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
