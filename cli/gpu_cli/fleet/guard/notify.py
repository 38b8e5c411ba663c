"""Telling the user on the desktop what was done without being asked, where there is a desktop."""

import contextlib
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from threading import Thread

TITLE = "gpu"
SWITCH = "GPU_NOTIFY"
"""`0` in the environment: no notifications."""
_PATIENCE_S = 10.0
_AGAIN_S = 3600.0
_shown_at: dict[str, float] = {}
"""What is tried again and again fails in the same words."""
_SCRIPT = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")


def notify(environ: Mapping[str, str], text: str) -> None:
    """Show it, if that is possible, and not more than once an hour. Never waits, never raises."""
    if time.monotonic() - _shown_at.get(text, -math.inf) < _AGAIN_S:
        return
    _shown_at[text] = time.monotonic()
    if command := _command(environ, text):
        Thread(target=_run, args=(command, environ), name="notify", daemon=True).start()


def _command(environ: Mapping[str, str], text: str) -> Sequence[str]:
    """What shows it; empty where nothing can: no session of a desktop, or not the program for it."""
    if environ.get(SWITCH) == "0":
        return ()
    if sys.platform == "darwin":
        lines = [word for line in _SCRIPT for word in ("-e", line)]
        return ("osascript", *lines, TITLE, text)
    has_session = "DBUS_SESSION_BUS_ADDRESS" in environ
    program = shutil.which("notify-send", path=environ.get("PATH")) if has_session else None
    return (program, "--app-name", TITLE, "--", TITLE, text) if program else ()


def _run(command: Sequence[str], environ: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        quiet = subprocess.DEVNULL
        subprocess.run(command, env=environ, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_PATIENCE_S, check=False)
