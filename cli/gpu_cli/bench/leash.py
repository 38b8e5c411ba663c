"""Runs a command that must not outlive who wants it: `python leash.py FOLDER COMMAND...`, held by its standard input.

The system lets go of that also for a program that is killed. Then the command's processes are killed, and the folder is
removed. Started by its path, without site-packages, so that it takes next to no time and memory.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys

_POLL_S = 0.1


def main(folder: str, *command: str) -> int:
    """The command's status, 128 + N when signal N ended it; none of its process group is left."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    while process.poll() is None and not _is_let_go():
        pass
    let_go = process.returncode is None
    _kill_group(process.pid)
    status = process.wait()
    if let_go:
        _kill_group(process.pid)  # whoever was being started at the first time
        shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 128 - status


def _is_let_go() -> bool:
    """Nothing is ever written to it: it can be read when it is closed."""
    return bool(select.select([sys.stdin], [], [], _POLL_S)[0])


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter on macOS: only zombies are left
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
