"""The files that the program keeps, and trouble with them as something that a user can act on."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class PrivateFiles:
    """What is kept of each deployment apart from the store, one file by its resource name that only the user reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, resource_name: str) -> Path:
        """Where it is, or would be."""
        return self._folder / resource_name

    def forget(self, resource_name: str) -> None:
        """Remove it, once its deployment is gone."""
        self.path(resource_name).unlink(missing_ok=True)

    def resource_names(self) -> set[str]:
        """Of all deployments of which something is kept."""
        return {file.stem for file in self._folder.iterdir()} if self._folder.is_dir() else set()

    def _write(self, resource_name: str, text: str) -> None:
        """On disk (0600, in a folder of 0700) before it is used anywhere. Raises UserError when it cannot be kept."""
        path = self.path(resource_name)
        with kept_in(path):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
