"""What Docker says on a host when a container will never run there: on which kinds of host another one may do.

The words are Docker's own and those of NVIDIA's container runtime; the clouds pass them on.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpu_providers.errors import HostFailed, InvalidRequest

_LONGEST_LINE = 300


@dataclass(frozen=True)
class Fatal:
    """Words after which waiting is in vain."""

    pattern: re.Pattern[str]
    error: type[HostFailed | InvalidRequest]
    message: str
    hint: str = ""


def fatal(pattern: str, error: type[HostFailed | InvalidRequest], message: str, hint: str = "") -> Fatal:
    """A row of a cloud's table; capitals are no matter."""
    return Fatal(re.compile(pattern, re.IGNORECASE), error, message, hint)


NO_PROGRAM = fatal(r"executable file not found", InvalidRequest, "the image has no such program")
OLD_DRIVER = fatal(
    r"unsatisfied condition: cuda|nvidia-container-cli: requirement error",
    HostFailed,
    "the driver of this host is too old for the image",
)


def no_image(hint: str) -> Fatal:
    """For a registry that will not give the image to any host."""
    return fatal(
        r"manifest unknown|manifest for \S+ not found|repository does not exist|pull access denied"
        r"|invalid reference format",
        InvalidRequest,
        "its registry does not have the image, or does not give it to us",
        hint,
    )


def check(table: Sequence[Fatal], lines: Iterable[str], *, shown: Callable[[str], str] = str) -> None:
    """Raises the error of the first row that any line matches, quoting the line as it may be `shown`."""
    said = list(lines)
    for row in table:
        for line in said:
            if row.pattern.search(line):
                raise row.error(f"{row.message}: {shown(line.strip())[:_LONGEST_LINE]}", hint=row.hint)
