"""Writing files that people keep."""

import contextlib
import os
import shutil
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit


def write_text(path: Path, text: str) -> None:
    """Replace the file by this text, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file in one step, or leave it as it was. Makes its folder; a link is followed, permissions are kept.

    Raises UserError when the disk does not let us.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        message = f"cannot write {path}: {error.strerror}"
        raise UserError(Exit.BAD_INPUT, "cannot-write", message, hint="check the folder and the disk") from error
