"""The recipe of a deployment that is up already: the record has its name, and what stands for its content."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from gpu_cli.commands.here import the_recipe
from gpu_cli.errors import UserError

if TYPE_CHECKING:  # slow to import
    from gpu_cli.fleet.deployment import Deployment
    from gpu_cli.recipe.schema import Recipe


def recipe_of(deployment: "Deployment") -> "Recipe | None":
    """As it was launched. None when it is not found by its name or in this folder, or has changed since."""
    return next((recipe for recipe in _candidates(deployment) if recipe.digest() == deployment.recipe_digest), None)


def _candidates(deployment: "Deployment") -> "Iterator[Recipe]":
    from gpu_providers.base import Kind

    flags = product(({}, {"kind": Kind.SERVERLESS}), ({}, {"spot": True}))  # what the launch may have changed
    changes = [{**kind, **spot} for kind, spot in flags]
    for text in (deployment.recipe, f"./{deployment.recipe}.yaml", None):
        try:
            recipe = the_recipe(text).recipe
        except UserError:
            continue
        yield from (recipe.model_copy(update=change) for change in changes)
