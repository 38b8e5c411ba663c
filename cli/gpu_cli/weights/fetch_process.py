"""Runs the fetcher in the engine's Python and understands what it says."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_cli.engine.subprocess_lines import lines, started

STALL_S = 600.0
"""How long the fetcher may show no progress at all, no byte and no new step, before it is given up."""

_TICK_S = 1.0
_SCRIPT = Path(__file__).with_name("fetcher.py")
_MB = 10**6
_KINDS = {
    "gated": "access was refused",
    "no-space": "no room on the disk",
    "not-found": "not found",
    "unreachable": "it cannot be reached",
}
# The libraries' own progress bars would fill the log; ours is made from what arrives on the disk.
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@dataclass(frozen=True)
class Fetched:
    """Where the weights are now."""

    path: Path
    note: str


@dataclass(frozen=True)
class Failure:
    """Why a place gave no weights; `kind` is one of the fetcher's."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{_KINDS[self.kind]} ({self.message})" if self.kind in _KINDS else self.message


def run_fetcher(
    arguments: Sequence[str],
    *,
    python: Path,
    environ: Mapping[str, str],
    scratch: Path,
    log: Path,
    lock_descriptor: int,
    tell: Callable[[str], None],
    stall_s: float = STALL_S,
    clock: Callable[[], float] = time.monotonic,
) -> Fetched | Failure:
    """One run; it is ended when it makes no progress for `stall_s`.

    What it keeps only for itself goes to `scratch`, and `log` gets what the libraries say.
    """
    command = [str(python), "-I", str(_SCRIPT), *arguments]
    environ = {**environ, **_QUIET, "TMPDIR": str(scratch)}
    last, since = b"", clock()
    with (
        log.open("wb") as errors,
        started(command, environ=environ, lock_descriptor=lock_descriptor, stderr=errors) as process,
    ):
        for line in lines(process, tick_s=_TICK_S):
            if line and line != last:
                last, since = line, clock()
            if clock() - since > stall_s:
                return Failure("unreachable", f"no progress for {stall_s:.0f} s")
            if outcome := _understood(line, tell):
                return outcome
    return Failure("other", f"the fetcher ended without a word, see {log}")


def _understood(line: bytes, tell: Callable[[str], None]) -> Fetched | Failure | None:
    if not line:
        return None
    event = json.loads(line)
    if event["event"] == "done":
        return Fetched(Path(event["path"]), event["note"])
    if event["event"] == "failed":
        return Failure(event["kind"], event["message"])
    tell(_in_words(event["text"], event["bytes"], event["total"]))
    return None


def _in_words(text: str, done_bytes: int, total_bytes: int) -> str:
    if not done_bytes:
        return text
    done = f"{text} {done_bytes / _MB:.0f}"
    return f"{done}/{total_bytes / _MB:.0f} MB" if total_bytes else f"{done} MB"
