"""What is kept of a spot deployment while it lives: how to launch another, should its cloud take it back."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.state_files import PrivateFiles

if TYPE_CHECKING:  # pydantic takes long to import, and `gpu ls` reads no recipe
    from gpu_cli.recipe.schema import Recipe

TAKEN_BACK = "taken back"
"""How the reason of a deployment begins that its cloud took back after it was ready."""


@dataclass(frozen=True)
class Terms:
    """What its launch was told beyond the recipe, and its record does not say."""

    max_price_usd_per_hour: float | None
    boot_deadline_s: float
    replacements: int = 0
    """How many before it were taken back, each in the place of the one before."""
    region: str | None = None
    """Where alone it may be (`--region`)."""


class SpotRecipes(PrivateFiles):
    """The recipe of each, as it was launched, and its terms beside it."""

    def keep(self, resource_name: str, recipe: "Recipe", terms: Terms) -> None:
        """Raises UserError when they cannot be kept."""
        from gpu_cli.recipe.documents import recipe_yaml

        self._write(self.recipe_path(resource_name).name, recipe_yaml(recipe))
        self._write(_terms_path(self.recipe_path(resource_name)).name, json.dumps(asdict(terms)))

    def recipe_path(self, resource_name: str) -> Path:
        """Where its recipe is, or would be."""
        return self.path(f"{resource_name}.yaml")

    def is_of_lost(self, recipe: Path) -> bool:
        """Whether it is, or was, kept here: then what is launched from it comes in the place of one that was lost."""
        return recipe.is_relative_to(self._folder)

    def terms_beside(self, recipe: Path) -> Terms | None:
        """The terms of a recipe that is kept here; None for any other."""
        if not (self.is_of_lost(recipe) and _terms_path(recipe).is_file()):
            return None
        return Terms(**json.loads(_terms_path(recipe).read_text()))

    def terms_of(self, resource_name: str) -> Terms | None:
        """None where nothing is kept of it."""
        return self.terms_beside(self.recipe_path(resource_name))

    def kept(self) -> Sequence[str]:
        """The resource names of all of which something is kept."""
        return [recipe.stem for recipe in sorted(self._folder.glob("*.yaml"))]

    def forget(self, resource_name: str) -> None:
        """Remove what is kept of it."""
        self.forget_recipe(self.recipe_path(resource_name))

    def forget_recipe(self, recipe: Path) -> None:
        """Remove a recipe that is kept here, with its terms; any other stays."""
        if self.is_of_lost(recipe):
            recipe.unlink(missing_ok=True)
            _terms_path(recipe).unlink(missing_ok=True)


def spot_recipes(fleet: Fleet) -> SpotRecipes:
    """Those of this user."""
    return SpotRecipes(fleet.paths.state / "recipes")


def is_spot(fleet: Fleet, deployment: Deployment) -> bool:
    """Whether it was launched from here, on an offer that can be taken back."""
    return spot_recipes(fleet).recipe_path(deployment.resource_name).is_file()


def _terms_path(recipe: Path) -> Path:
    return recipe.with_suffix(".json")
