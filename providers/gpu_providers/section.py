"""A provider's section of a recipe, read option by option: what is not known, or makes no sense, is refused by name."""

import difflib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from gpu_providers.errors import InvalidRequest


@dataclass(frozen=True)
class Section:
    """What a recipe says about one provider. Every method that reads raises InvalidRequest."""

    provider: str
    said: Mapping[str, object]

    def check_known(self, known: Sequence[str]) -> None:
        """Raises InvalidRequest for an option that is none, with the nearest that is one."""
        for name in self.said:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(known)}"
                raise InvalidRequest(f"provider {self.provider} has no option {name!r}", hint=hint)

    def number(self, name: str, default: float, *, least: float, most: float = math.inf) -> float:
        """Finite, within these bounds."""
        value = self.said.get(name, default)
        if not _is_number(value) or not least <= value <= most:
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise self.refused(name, f"give a number, {bounds}")
        return float(value)

    def whole(self, name: str, default: int, *, least: int, most: float = math.inf) -> int:
        """A whole number within these bounds."""
        value = self.said.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            bounds = f"from {least} to {most:g}" if most < math.inf else f"{least} or more"
            raise self.refused(name, f"give a whole number, {bounds}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.said.get(name, default)
        if not isinstance(value, bool):
            raise self.refused(name, "give true or false")
        return value

    def text(self, name: str, *, hint: str) -> str:
        """Empty where it is not said."""
        value = self.said.get(name, "")
        if not isinstance(value, str):
            raise self.refused(name, hint)
        return value

    def codes(self, name: str, pattern: re.Pattern[str], *, hint: str) -> tuple[str, ...]:
        """A list of words like the pattern, in capitals; empty where it is not said."""
        value = self.said.get(name, [])
        words = value if isinstance(value, list | tuple) else [None]
        codes = tuple(word.upper() if isinstance(word, str) else "" for word in words)
        if not all(pattern.fullmatch(code) for code in codes):
            raise self.refused(name, hint)
        return codes

    def refused(self, name: str, hint: str) -> InvalidRequest:
        """The error for what this option is."""
        return InvalidRequest(f"provider {self.provider}: {name} is {self.said.get(name)!r}", hint=hint)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
