"""Runs a command and hears what it says while it runs."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

_READ_BYTES = 65536


@contextmanager
def started(
    command: Sequence[str], *, environ: Mapping[str, str], lock_descriptor: int, stderr: IO[bytes] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """The running command, its output on a pipe (with its errors, unless they go to `stderr`).

    The end of the block ends it, with what it has started itself.

    It shares the lock: should this process be killed, the lock is free only when the command has ended too.
    """
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr or subprocess.STDOUT,
        pass_fds=(lock_descriptor,),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def lines(process: "subprocess.Popen[bytes]", *, tick_s: float) -> Iterator[bytes]:
    """Each line of its output, with its end, until it closes; and an empty one whenever it was silent for `tick_s`."""
    if process.stdout is None:
        raise ValueError("its output is not on a pipe")
    descriptor = process.stdout.fileno()
    pending = b""
    while True:
        if not select.select([descriptor], [], [], tick_s)[0]:
            yield b""
            continue
        read = os.read(descriptor, _READ_BYTES)
        *complete, pending = (pending + read).splitlines(keepends=True) or [b""]
        if pending.endswith(b"\n"):
            complete, pending = [*complete, pending], b""
        yield from complete
        if not read:
            yield from [pending] if pending else []
            return
