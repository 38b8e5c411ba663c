"""Finds a Python that the packages have wheels for."""

import shutil
import subprocess
import sys
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

_ANSWER_S = 10


def find_python(versions: tuple[tuple[int, int], ...]) -> Path:
    """This very Python when it will do, else the newest suitable one on PATH. Raises UserError when there is none."""
    if sys.version_info[:2] in versions:
        return Path(sys.executable)
    for version in sorted(versions, reverse=True):
        found = shutil.which(f"python{_dotted(version)}")
        if found and _works(found):
            return Path(found)
    raise UserError(
        Exit.NOTHING_FITS,
        "no-python",
        f"this installation needs Python {_dotted(min(versions))} to {_dotted(max(versions))}, and none is on PATH",
        hint=f"install one, for example python{_dotted(max(versions))}; gpu itself may stay on its own",
    )


def _works(executable: str) -> bool:
    """A name on PATH may be a shim that starts nothing."""
    try:
        return subprocess.run([executable, "-c", ""], check=False, timeout=_ANSWER_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
