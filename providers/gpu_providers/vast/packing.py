"""How environment, command and labels travel to Vast.ai: in many short variables without any special character.

Its OpenAPI document bounds the command with its arguments to 4096 characters, the environment to 32768, and each entry
of that to 256; users report that values with spaces or quotes do not survive (https://docs.vast.ai/api-reference).
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_providers.vast.unpack import BOX, LABELS, joined, unpack

__all__ = ["MOST_CHARACTERS", "SCRIPT", "characters", "pack", "pack_labels", "unpack", "unpack_labels"]

MOST_CHARACTERS = 32768
"""What all variables of one instance may have together."""
_UNPACK = base64.b64encode(Path(__file__).with_name("unpack.py").read_bytes()).decode()
SCRIPT = f"exec python3 -c 'import base64; exec(base64.b64decode(\"{_UNPACK}\"))'"
"""What a shell in the container runs: it becomes the command that was packed, in the environment that was packed.

One line: others send such to Vast.ai, and nobody tells of line ends that arrived.
"""

_PIECE = 240
"""With its name below 256."""


def pack(env: Mapping[str, str], argv: Sequence[str]) -> dict[str, str]:
    """The variables from which `SCRIPT` makes this environment and this command; `unpack` reads them."""
    box = json.dumps({"env": dict(env), "argv": list(argv)}, separators=(",", ":"))
    return _split(BOX, zlib.compress(box.encode(), 9))


def pack_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep these labels with the instance."""
    return _split(LABELS, json.dumps(dict(labels)).encode())


def unpack_labels(variables: Mapping[str, str]) -> dict[str, str]:
    """The labels in them; empty when there are none, or they are not ours."""
    try:
        found = json.loads(joined(variables, LABELS) or "{}")
    except (binascii.Error, ValueError):
        return {}
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def characters(variables: Mapping[str, str]) -> int:
    """How many of MOST_CHARACTERS they take, each with an equals sign."""
    return sum(len(name) + 1 + len(value) for name, value in variables.items())


def _split(prefix: str, content: bytes) -> dict[str, str]:
    text = base64.b64encode(content).decode()
    pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
    return {f"{prefix}{number:03}": piece for number, piece in enumerate(pieces)}
