"""What a container of RunPod runs: the forms in which a request may say it.

`entrypoint` and `cmd` are arrays, newer than the OpenAPI file (alchemy-run/distilled); `args` is one string, either
shell words that are the arguments, or both arrays as JSON text. What is not given is the image's own.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ..images import entrypoint_of


def what_runs(body: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and arguments of the body of a pod or an endpoint. Raises ValueError for `args` that are neither."""
    entrypoint, cmd, args = body.get("entrypoint"), body.get("cmd"), body.get("args", "")
    if args.lstrip().startswith("{"):
        arrays = json.loads(args)
        entrypoint, cmd = arrays.get("entrypoint"), arrays.get("cmd")
    elif args:
        cmd = shlex.split(args)
    return tuple(entrypoint or entrypoint_of(body["image"])), tuple(cmd or ())


def check_args(value: Any, path: str) -> list[str]:
    """What is wrong with `args`, as the checks of `bodies` tell it."""
    if not isinstance(value, str):
        return [f"{path}: value must be a string"]
    try:
        what_runs({"image": "", "args": value})
    except ValueError as error:
        return [f"{path}: value is not a command line: {error}"]
    return []
