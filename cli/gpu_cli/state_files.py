"""Trouble with the files that the program keeps, as something that a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit


def unwritable(path: Path, why: str) -> UserError:
    """What is raised when a file of the state cannot be kept; nothing is launched without a record."""
    return UserError(
        Exit.LAUNCH_FAILED,
        "state-unwritable",
        f"{path} cannot be written: {why}",
        hint=f"free some space in {path.parent} or make it writable, or set GPU_HOME to another folder",
    )


@contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Any OSError inside is trouble with this file."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from error
