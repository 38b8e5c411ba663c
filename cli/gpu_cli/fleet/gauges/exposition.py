"""Prometheus' text format, as far as an engine's figures need it.

The client library's own parser takes 10 ms for what vLLM serves and 80 ms to import; the guard reads it all day.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{.*\})?[ \t]+([-+.\deE]+)(?=\s|$)", re.MULTILINE)
"""Names, and values that are finite. Labels may hold anything but a line's end; a timestamp may follow."""


class BadMetrics(Exception):
    """They are not what vLLM serves; the text says how, as what `/metrics` does."""


@dataclass(frozen=True)
class Samples:
    """The samples of vLLM in one answer of `/metrics`. Where it runs several engines, each has series of its own."""

    values: Mapping[str, Sequence[float]]
    """By name, whatever the labels."""

    def needed(self, name: str) -> float:
        """The sum of all its series. Raises BadMetrics when there is none: no figure is not zero."""
        if name not in self.values:
            raise BadMetrics(f"has no {name}")
        return sum(self.values[name])

    def total(self, *names: str) -> float | None:
        """The sum of all series of the first of these names that is there; None when none is."""
        found = self._first(names)
        return sum(found) if found else None

    def mean(self, *names: str) -> float | None:
        """As `total`, of a share that each engine has of its own."""
        found = self._first(names)
        return sum(found) / len(found) if found else None

    def _first(self, names: Sequence[str]) -> Sequence[float]:
        return next((self.values[name] for name in names if name in self.values), ())


def read_samples(text: str) -> Samples:
    """What the text says; of lines that are no samples of vLLM's, nothing. Raises BadMetrics for a malformed number."""
    values: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(text):
        try:
            values.setdefault(name, []).append(float(value))
        except ValueError:
            raise BadMetrics(f"has a {name} that is no number") from None
    return Samples(values)
