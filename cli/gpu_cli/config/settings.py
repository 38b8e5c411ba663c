"""Settings: what each is, where it may be said, and which saying wins.

From strongest to weakest: flag, environment, recipe, project file, user file, default. A project file is the nearest
`gpu.config.yaml` in the folder or above it; the user file is `config.yaml` in the user's own folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gpu_cli.config.files import project_file, read_config, user_file
from gpu_cli.config.keys import BAD_CONFIG, BOOT_DEADLINE, BUDGET_USD, IDLE, KEYS, MAX_PRICE, START_DEADLINE, TTL, Key
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths

if TYPE_CHECKING:  # settings are often wanted without a recipe, and pydantic takes long to import
    from gpu_cli.recipe.schema import Recipe

T = TypeVar("T")


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A value, and who said so: `flag`, the variable's name, `recipe`, the file's path or `default`."""

    value: T
    source: str


@dataclass(frozen=True)
class Limits:
    """What ends a deployment and what it may cost; None is no limit."""

    idle_s: float
    ttl_s: float
    start_deadline_s: float
    boot_deadline_s: float
    budget_usd: float | None
    max_price_usd_per_hour: float | None


@dataclass(frozen=True)
class Settings:
    """What the environment and the files say, checked."""

    environment: Mapping[str, Any]
    files: tuple[tuple[str, Mapping[str, Any]], ...]
    """Each file's path and what it says, strongest first."""

    @classmethod
    def load(cls, paths: Paths, cwd: Path, environ: Mapping[str, str]) -> "Settings":
        """A variable that is set to nothing is not set. Raises UserError `bad-config` for what makes no sense,
        naming the variable, or the file and line.
        """
        environment = {
            key.name: parse_text(key, environ[key.variable], place=key.variable, code=BAD_CONFIG)
            for key in KEYS.values()
            if environ.get(key.variable)
        }
        files = [path for path in (project_file(cwd), user_file(paths)) if path]
        return cls(environment, tuple((str(path), read_config(path)) for path in files))

    def resolve(self, key: Key[T], *, flag: str | None = None, recipe: "Recipe | None" = None) -> Setting[T]:
        """What holds. `flag` is the text given with the key's flag; raises UserError when that makes no sense."""
        if flag is not None:
            return Setting(parse_text(key, flag, place=key.flag, code="usage"), "flag")
        if key.name in self.environment:
            return Setting(self.environment[key.name], key.variable)
        said = key.of_recipe(recipe) if recipe else None
        if said is not None:
            return Setting(said, "recipe")
        for path, values in self.files:
            if key.name in values:
                return Setting(values[key.name], path)
        return Setting(key.default, "default")


def resolve_limits(settings: Settings, recipe: "Recipe | None", flags: Mapping[str, str | None]) -> Limits:
    """The limits of a deployment. `flags` has the text of each flag by its key's name; None is not given."""

    def value(key: Key[T]) -> T:
        return settings.resolve(key, flag=flags.get(key.name), recipe=recipe).value

    return Limits(
        idle_s=value(IDLE),
        ttl_s=value(TTL),
        start_deadline_s=value(START_DEADLINE),
        boot_deadline_s=value(BOOT_DEADLINE),
        budget_usd=value(BUDGET_USD),
        max_price_usd_per_hour=value(MAX_PRICE),
    )


def parse_text(key: Key[T], text: str, *, place: str, code: str) -> T:
    """The key's value. Raises UserError that names the place where the text was found."""
    try:
        return key.parse(text)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, code, f"{place}: {error}") from None
