"""Settings: what each is, where it may be said, and which saying wins.

From strongest to weakest: flag, environment, recipe, project file, user file, default. A project file is the nearest
`gpu.config.yaml` in the folder or above it; the user file is `config.yaml` in the user's own folder.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths
from gpu_cli.units import format_duration, parse_duration, parse_usd, plain_usd

if TYPE_CHECKING:  # settings are often wanted without a recipe, and pydantic takes long to import
    from gpu_cli.recipe.schema import Recipe

PROJECT_FILE = "gpu.config.yaml"
BAD_CONFIG = "bad-config"

T = TypeVar("T")


@dataclass(frozen=True)
class Key(Generic[T]):
    """One setting. A default of None means that it is not set."""

    name: str
    flag: str
    default: T
    parse: Callable[[object], T]
    """From what a flag, a variable or a file says; raises ValueError with the reason."""
    written: Callable[[Any], object]
    """To what stands for it in a file; `parse` reads it back."""
    of_recipe: "Callable[[Recipe], T | None]"
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"GPU_{self.name.upper()}"

    def text(self, value: T) -> str:
        """For people; empty when it is not set."""
        return "" if value is None else str(self.written(value))


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
    budget_usd: float | None
    max_price_usd_per_hour: float | None


def _parse_provider(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", value):
        raise ValueError(f"{value!r} is no provider's name")
    return value


def _duration(
    name: str, flag: str, default_s: float, of_recipe: "Callable[[Recipe], float | None]", description: str
) -> Key[float]:
    return Key(name, flag, default_s, parse_duration, format_duration, of_recipe, description)


def _usd(name: str, flag: str, of_recipe: "Callable[[Recipe], float | None]", description: str) -> Key[float | None]:
    return Key(name, flag, None, parse_usd, plain_usd, of_recipe, description)


PROVIDER: Key[str | None] = Key(
    "provider", "--provider", None, _parse_provider, str, lambda _: None, "use no other provider"
)
IDLE = _duration(
    "idle", "--idle", 15 * 60, lambda recipe: recipe.limits.idle_s, "end it after this long without a request"
)
TTL = _duration("ttl", "--ttl", 24 * 3600, lambda recipe: recipe.limits.ttl_s, "end it after this long, busy or not")
START_DEADLINE = _duration(
    "start_deadline",
    "--start-deadline",
    30 * 60,
    lambda recipe: recipe.limits.start_deadline_s,
    "give up when it is not ready after this long",
)
BUDGET_USD = _usd(
    "budget_usd", "--budget", lambda recipe: recipe.limits.budget_usd, "end it when it has cost this much"
)
MAX_PRICE = _usd(
    "max_price_usd_per_hour",
    "--max-price",
    lambda recipe: recipe.limits.max_price_usd_per_hour,
    "rent nothing that costs more than this in an hour",
)
KEYS: Mapping[str, Key[Any]] = {key.name: key for key in (PROVIDER, IDLE, TTL, START_DEADLINE, BUDGET_USD, MAX_PRICE)}


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
        from gpu_cli.config.files import project_file, read_config, user_file

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
        budget_usd=value(BUDGET_USD),
        max_price_usd_per_hour=value(MAX_PRICE),
    )


def parse_text(key: Key[T], text: str, *, place: str, code: str) -> T:
    """The key's value. Raises UserError that names the place where the text was found."""
    try:
        return key.parse(text)
    except ValueError as error:
        raise UserError(Exit.BAD_INPUT, code, f"{place}: {error}") from None
