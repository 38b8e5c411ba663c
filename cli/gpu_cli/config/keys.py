"""The settings that there are: each with its flag, its variable, its default, and how it is read and written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
    60 * 60,
    lambda recipe: recipe.limits.start_deadline_s,
    "give up when it is not ready after this long",
)
BOOT_DEADLINE = _duration(
    "boot_deadline",
    "--boot-deadline",
    30 * 60,
    lambda recipe: recipe.limits.boot_deadline_s,
    "give up on a host that shows no progress for this long",
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
KEYS: Mapping[str, Key[Any]] = {
    key.name: key for key in (PROVIDER, IDLE, TTL, START_DEADLINE, BOOT_DEADLINE, BUDGET_USD, MAX_PRICE)
}
