"""What is kept with an app: our labels, and what a launch decided that Modal does not read back.

The keys and values of an app's tags have 1 to 63 characters of `A-Za-z0-9-_.` (the SDK: modal/_utils/name_utils.py,
1.6.4). All other characters of a value, and `_`, are written as `_` and two hex digits for each byte of UTF-8; what is
too long then goes on under further keys: `gpu-cli.model`, `gpu-cli.model.1`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Self

from gpu_providers.modal_cloud.options import Endpoint
from gpu_providers.values import number

PREFIX = "gpu-cli."
OURS = f"{PREFIX}name"
"""An app without this tag is not ours, whatever its name."""
_PRICE, _ENDPOINT, _MOST_CONTAINERS = "price", "endpoint", "max_containers"
_MOST_CHARACTERS = 63
_SPECIAL = re.compile(r"[^A-Za-z0-9.-]")
_ESCAPED = re.compile(r"(?:_[0-9A-F]{2})+")


@dataclass(frozen=True)
class Facts:
    """What a launch decided about its app."""

    price_usd_per_hour: float
    """Of one container, with the cards that were asked for first."""
    endpoint: Endpoint
    most_containers: int

    def labels(self) -> dict[str, str]:
        """As they are kept, beside the labels that the launch was given."""
        return {
            _PRICE: f"{self.price_usd_per_hour:.6f}",
            _ENDPOINT: self.endpoint,
            _MOST_CONTAINERS: str(self.most_containers),
        }

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self:
        """Read tolerantly: what cannot be read is what a launch decides by default, at a price of 0."""
        said = _labels(tags)
        endpoint = said.get(_ENDPOINT, "")
        return cls(
            price_usd_per_hour=number(said.get(_PRICE)) or 0.0,
            endpoint=Endpoint(endpoint) if endpoint in list(Endpoint) else Endpoint.FUNCTION,
            most_containers=max(1, round(number(said.get(_MOST_CONTAINERS)) or 1)),
        )


def encoded(labels: Mapping[str, str]) -> dict[str, str]:
    """As tags. A label that says nothing is left out."""
    tags: dict[str, str] = {}
    for name, value in labels.items():
        text = _SPECIAL.sub(lambda found: "".join(f"_{byte:02X}" for byte in found[0].encode()), value)
        pieces = [text[start : start + _MOST_CHARACTERS] for start in range(0, len(text), _MOST_CHARACTERS)]
        tags |= {_key(name, index): piece for index, piece in enumerate(pieces)}
    return tags


def decoded(tags: Mapping[str, str]) -> dict[str, str]:
    """The labels that a launch was given."""
    return {name: value for name, value in _labels(tags).items() if name not in (_PRICE, _ENDPOINT, _MOST_CONTAINERS)}


def _labels(tags: Mapping[str, str]) -> dict[str, str]:
    names = [key.removeprefix(PREFIX) for key in tags if key.startswith(PREFIX)]
    return {name: _value(tags, name) for name in names if "." not in name}


def _value(tags: Mapping[str, str], name: str) -> str:
    keys = takewhile(tags.__contains__, (_key(name, index) for index in count()))
    return _ESCAPED.sub(_unescaped, "".join(tags[key] for key in keys))


def _unescaped(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("_", "")).decode(errors="replace")


def _key(name: str, index: int) -> str:
    return f"{PREFIX}{name}.{index}" if index else f"{PREFIX}{name}"
