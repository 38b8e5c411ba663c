"""`gpu recipes`: what can be served."""

import os

from gpu_cli.commands.options import AsJson


def recipes(as_json: AsJson = False) -> None:
    """List the recipes: the built-in ones and your own."""
    from gpu_cli.paths import Paths
    from gpu_cli.recipe.files import list_recipes
    from gpu_cli.ui.output import Result, Table, show

    found = list_recipes(Paths.from_environ(os.environ))
    document = {
        "recipes": [
            {
                "name": recipe.name,
                "origin": recipe.origin,
                "path": str(recipe.path),
                "model": recipe.model or None,
                "context": recipe.context,
                "description": recipe.description,
                "problem": recipe.problem or None,
            }
            for recipe in found
        ]
    }
    rows = tuple(
        (
            recipe.name,
            recipe.model,
            str(recipe.context or ""),
            recipe.origin,
            f"cannot be used: {recipe.problem}" if recipe.problem else recipe.description,
        )
        for recipe in found
    )
    show(Result(document, table=Table(("NAME", "MODEL", "CONTEXT", "ORIGIN", "DESCRIPTION"), rows)), as_json=as_json)
