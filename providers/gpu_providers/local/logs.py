"""Reading a log file that another process may still be writing."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_POLL_S = 0.2


def lines(path: Path, *, tail: int | None, ended: Callable[[], bool], stop: Callable[[], bool]) -> Iterator[str]:
    """Lines of the file so far, the last `tail` of them if given, and then new ones until `ended()` or `stop()`.

    Raises FileNotFoundError, at the call and not at the first line, when there is no such file.
    """
    return _lines(path.open("rb"), tail, ended, stop)


def _lines(file: BinaryIO, tail: int | None, ended: Callable[[], bool], stop: Callable[[], bool]) -> Iterator[str]:
    with file:
        over = ended() or stop()  # asked before each reading: what was written before the end is then not missed
        so_far = _read(file, to_the_end=over)
        yield from so_far if tail is None else deque(so_far, maxlen=tail)
        while not over:
            time.sleep(_POLL_S)
            over = ended() or stop()
            yield from _read(file, to_the_end=over)


def _read(file: BinaryIO, *, to_the_end: bool) -> Iterator[str]:
    """New lines; one that is not finished is left for the next reading unless there will be none."""
    for line in iter(file.readline, b""):
        if not line.endswith(b"\n") and not to_the_end:
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line.decode(errors="replace").rstrip("\r\n")
