"""What a container starts as: it takes environment and command out of its variables, and becomes that command.

This text itself is what the container gets, for `python3 -c`: Python 3.9, and nothing but its standard library.
"""

import base64
import json
import os
import zlib
from collections.abc import Mapping

BOX, LABELS = "GPU_BOX_", "GPU_LABELS_"


def joined(variables: Mapping[str, str], prefix: str) -> bytes:
    """What was split over the variables whose names begin so."""
    return base64.b64decode("".join(variables[name] for name in sorted(variables) if name.startswith(prefix)))


def unpack(variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment and the command in them. Raises ValueError or zlib.error when they are not whole."""
    box = json.loads(zlib.decompress(joined(variables, BOX)))
    return box["env"], box["argv"]


def main() -> None:
    """Does not return."""
    env, argv = unpack(os.environ)
    for name in [name for name in os.environ if name.startswith((BOX, LABELS))]:
        del os.environ[name]
    os.environ.update(env)
    os.execvp(argv[0], argv)  # noqa: S606 - it came with the launch


if __name__ == "__main__":
    main()
