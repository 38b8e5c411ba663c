"""The generator's process, and the records that it writes while it runs."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from gpu_cli.bench.records import Request, read_record
from gpu_cli.fleet.interrupt import shielded

_END_S = 10.0
_POLL_S = 0.05
_FRAME = " │╭╮╰╯─•\t"
_LONGEST_WORDS = 200


class Process:
    """A running generator; as of the last `read`, the `requests` that have ended, by level, the `level` of the last one
    (-1 before the first), and when something was last heard, in seconds since the epoch.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", records: Path, log: Path) -> None:
        self._process = process
        self._records = records
        self._log = log
        self._offset = 0
        self.requests: defaultdict[int, list[Request]] = defaultdict(list)
        self.level = -1
        self.heard_at = time.time()

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def read(self) -> None:
        """Take in what it has written since; a line that is not complete yet is left for the next time."""
        if not self._records.exists():
            return
        with self._records.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        for line in complete.splitlines():
            request = read_record(line.decode())
            self.requests[request.level].append(request)
            self.level, self.heard_at = max(self.level, request.level), time.time()

    def last_words(self) -> str:
        """The first line that speaks of an error, else the last one."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        spoken = [words for line in lines if (words := line.strip(_FRAME))] or ["it said nothing"]
        return next((line for line in spoken if "error" in line.lower()), spoken[-1])[:_LONGEST_WORDS]


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, gone at the end. Its path is short: sockets in it have short names."""
    folder = Path(tempfile.mkdtemp(prefix=f"gpu-bench-{os.getpid()}-", dir="/tmp"))
    try:
        yield folder
    finally:
        with shielded():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], folder: Path, *, records: Path) -> Iterator[Process]:
    """The command in the folder, in a session of its own of which nothing lives at the end of the block. Should this
    program be killed, the command is killed too, and the folder goes.
    """
    log, process = folder / "generator.log", None
    leash = (sys.executable, "-I", "-S", str(files("gpu_cli.bench") / "leash.py"), str(folder))
    try:
        with shielded(), log.open("wb") as output:
            process = subprocess.Popen(
                (*leash, *command),
                env=environ,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield Process(process, records, log)
    finally:
        if process:
            with shielded():
                _end_session(process)


def _end_session(leash: "subprocess.Popen[bytes]") -> None:
    """By letting go. What still lives then, as its leash was killed or hangs, is killed until nothing does."""
    if leash.stdin:
        leash.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        leash.wait(_END_S)
    give_up_at = time.monotonic() + _END_S
    while (left := _living(leash.pid)) and time.monotonic() < give_up_at:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    leash.poll()


def _living(session: int) -> Sequence[int]:
    """Who is in the session. Zombies are not alive, and where nobody adopts orphans they stay for good."""
    import psutil

    alive = [each for each in psutil.process_iter(["status"]) if each.info["status"] != psutil.STATUS_ZOMBIE]
    return [process.pid for process in alive if _session(process.pid) == session]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
