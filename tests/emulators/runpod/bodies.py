"""The shapes of request bodies, and what RunPod says of a body that has another: the texts of its 422.

A check takes a value and its path and answers what is wrong with it. As the real validator does, a missing property
makes all those that are there unknown as well (runpod/runpod-plugins-official, its notes on breaking changes).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from .command import check_args

Check = Callable[[Any, str], list[str]]


def string(*, pattern: str = ".*", longest: int | None = None, one_of: Sequence[str] = ()) -> Check:
    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, str):
            return [f"{path}: value must be a string"]
        if one_of and value not in one_of:
            return [f"{path}: value must be one of {', '.join(map(repr, one_of))}"]
        if longest and len(value) > longest:
            return [f"{path}: maximum length {longest}, got {len(value)}"]
        return [] if re.fullmatch(pattern, value, re.DOTALL) else [f"{path}: {value!r} does not match {pattern!r}"]

    return check


def integer(lowest: int, highest: int | None = None) -> Check:
    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            return [f"{path}: value must be an integer"]
        if value < lowest:
            return [f"{path}: minimum {lowest}, got {value}"]
        return [] if highest is None or value <= highest else [f"{path}: maximum {highest}, got {value}"]

    return check


def number(lowest: float) -> Check:
    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return [f"{path}: value must be a number"]
        return [] if value >= lowest else [f"{path}: minimum {lowest}, got {value}"]

    return check


def boolean(value: Any, path: str) -> list[str]:
    return [] if isinstance(value, bool) else [f"{path}: value must be a boolean"]


def nullable(inner: Check) -> Check:
    return lambda value, path: [] if value is None else inner(value, path)


def array(item: Check, *, most: int | None = None) -> Check:
    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{path}: value must be an array"]
        if most is not None and len(value) > most:
            return [f"{path}: maximum {most} items, got {len(value)}"]
        return [error for i, entry in enumerate(value) for error in item(entry, f"{path}[{i}]")]

    return check


def mapping(item: Check, *, most: int | None = None) -> Check:
    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: value must be an object"]
        if most is not None and len(value) > most:
            return [f"{path}: maximum {most} properties, got {len(value)}"]
        return [error for key, entry in value.items() for error in item(entry, f"{path}.{key}")]

    return check


def fields(required: Sequence[str], **known: Check) -> Check:
    """An object with these properties and no others."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: value must be an object"]
        missing = [name for name in required if name not in value]
        if unknown := [name for name in value if missing or name not in known]:
            names = ", ".join(map(repr, unknown))
            return [f"{path}: additional properties {names} not allowed", *_missing(path, missing)]
        return _missing(path, missing) or [
            error for key, entry in value.items() for error in known[key](entry, f"{path}.{key}")
        ]

    return check


def _missing(path: str, names: Sequence[str]) -> list[str]:
    return [f"{path}: missing property {name!r}" for name in names]


CUDA_VERSION = string(pattern=r"\d+\.\d+")
CONTAINER = {
    "image": string(),
    "args": check_args,
    "entrypoint": array(string()),
    "cmd": array(string()),
    "disk": integer(1),
    "env": mapping(string(), most=50),
    "ports": array(string(pattern=r"\d+/(http|tcp)")),
    "registry": nullable(string()),
}
MOUNTS = fields(
    (),
    persistent=fields(("size", "path"), size=integer(10), path=string()),
    network=array(fields(("volumeId", "path"), volumeId=string(), path=string()), most=1),
)
POD_GPU = fields(
    ("id",),
    id=string(),
    count=integer(1),
    allowedCudaVersions=array(CUDA_VERSION),
    minCudaVersion=CUDA_VERSION,
    minRamPerGpu=integer(1),
    minVcpuCountPerGpu=integer(1),
)
NEW_POD = fields(
    ("name",),
    **CONTAINER,
    name=string(longest=191, pattern=".+"),
    cloud=string(one_of=("SECURE", "COMMUNITY")),
    gpu=POD_GPU,
    cpu=fields(("id", "vcpuCount"), id=string(), vcpuCount=integer(2)),
    dataCenterIds=array(string()),
    globalNetworking=boolean,
    mounts=MOUNTS,
    startJupyter=boolean,
    startSsh=boolean,
    templateId=string(),
)
POD_CHANGES = fields(
    (),
    **CONTAINER,
    name=string(longest=191, pattern=".+"),
    globalNetworking=boolean,
    locked=boolean,
    mounts=MOUNTS,
    templateId=string(),
)
ACTION = fields(("action",), action=string(one_of=("start", "stop", "restart", "terminate")))
