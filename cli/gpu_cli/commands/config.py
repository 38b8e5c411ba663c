"""`gpu config`: the settings, where each comes from, and changing them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson

if TYPE_CHECKING:
    from gpu_cli.config.settings import Settings

config_app = typer.Typer(
    help="Settings: what holds and who says so.", invoke_without_command=True, rich_markup_mode=None
)


def _complete_key(incomplete: str) -> list[str]:
    from gpu_cli.config.keys import KEYS

    return [name for name in KEYS if name.startswith(incomplete)]


KeyName = Annotated[str, typer.Argument(metavar="KEY", help="As gpu config lists them.", autocompletion=_complete_key)]
OfProject = Annotated[
    bool, typer.Option("--project", help="In gpu.config.yaml of this project; otherwise in your own file.")
]


@config_app.callback()
def list_settings(context: typer.Context, as_json: AsJson = False) -> None:
    """List the settings. The strongest saying holds: flag, environment, recipe, project file, user file, default."""
    if context.invoked_subcommand:
        return
    from gpu_cli.config.keys import KEYS
    from gpu_cli.ui.output import Result, Table, show

    settings = _settings()
    found = [(key, settings.resolve(key)) for key in KEYS.values()]
    document = {
        "settings": [
            {"key": key.name, "value": key.text(setting.value) or None, "source": setting.source}
            for key, setting in found
        ]
    }
    rows = tuple((key.name, key.text(setting.value) or "-", setting.source, key.description) for key, setting in found)
    show(Result(document, table=Table(("KEY", "VALUE", "SOURCE", "MEANING"), rows)), as_json=as_json)


@config_app.command("get")
def get(name: KeyName, as_json: AsJson = False) -> None:
    """Print one setting; nothing when it is not set."""
    from gpu_cli.config.files import find_key
    from gpu_cli.ui.output import Result, show

    key = find_key(name)
    setting = _settings().resolve(key)
    value = key.text(setting.value)
    show(Result({"key": name, "value": value or None, "source": setting.source}, stdout=value), as_json=as_json)


@config_app.command("set")
def set_(
    name: KeyName,
    value: Annotated[str, typer.Argument(help="Durations as 90s, 15m or 1h30m; money in US dollars.")],
    project: OfProject = False,
    as_json: AsJson = False,
) -> None:
    """Change a setting in a file. Comments in the file are lost."""
    from gpu_cli.config.files import find_key, set_value
    from gpu_cli.config.settings import parse_text
    from gpu_cli.ui.output import Result, show

    key = find_key(name)
    parsed = parse_text(key, value, place=name, code="usage")
    path = _file(project)
    set_value(path, key, parsed)
    messages = [f"{name} is {key.text(parsed)} in {path}"]
    if os.environ.get(key.variable):
        messages.append(f"{key.variable} is set in this shell, and is stronger")
    document = {"key": name, "value": key.text(parsed), "path": str(path)}
    show(Result(document, messages=tuple(messages)), as_json=as_json)


@config_app.command("unset")
def unset(name: KeyName, project: OfProject = False, as_json: AsJson = False) -> None:
    """Take a setting out of a file. Comments in the file are lost."""
    from gpu_cli.config.files import find_key, unset_value
    from gpu_cli.ui.output import Result, show

    key = find_key(name)
    path = _file(project)
    was_set = unset_value(path, key)
    message = f"{name} is no longer set in {path}" if was_set else f"{name} was not set in {path}"
    show(Result({"key": name, "path": str(path), "was_set": was_set}, messages=(message,)), as_json=as_json)


@config_app.command("path")
def path_(project: OfProject = False, as_json: AsJson = False) -> None:
    """Print where the file is, or would be."""
    from gpu_cli.ui.output import Result, show

    path = _file(project)
    show(Result({"path": str(path), "exists": path.exists()}, stdout=str(path)), as_json=as_json)


def _settings() -> "Settings":
    from gpu_cli.config.settings import Settings
    from gpu_cli.paths import Paths

    return Settings.load(Paths.from_environ(os.environ), Path.cwd(), os.environ)


def _file(project: bool) -> Path:
    from gpu_cli.config.files import project_file, user_file
    from gpu_cli.config.keys import PROJECT_FILE
    from gpu_cli.paths import Paths

    cwd = Path.cwd()
    if project:
        return project_file(cwd) or cwd / PROJECT_FILE
    return user_file(Paths.from_environ(os.environ))
