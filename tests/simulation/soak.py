"""Thousands of storms: `python tests/simulation/soak.py [--histories 10000] [--from SEED] [--processes 2]`.

Prints what was found: each failure with its seed, shrunk to what can be pasted into a test; interrupted (Ctrl-C,
SIGTERM) what was found until then. Exit status 1 when there was a failure, or it did not come to its end.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

FOLDERS = ("simulation", ".", "../templates")
HISTORIES = 10_000
HISTORIES_TOLD = "told"
AT_ONCE = 5
SHRUNK = 5
"""How many failures are shrunk: the others are told by their seed."""


def _found(first: int, count: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Of so many seeds."""
    from storm import told
    from storm_histories import some_history

    figures, failures = Counter[str](), list[tuple[int, str]]()
    for seed in range(first, first + count):
        figures[HISTORIES_TOLD] += 1
        try:
            teller = told(some_history(seed))
        except Exception as error:  # noqa: BLE001 - told like any other failure
            failures.append((seed, f"{type(error).__name__}: {error}"))
            continue
        figures += teller.figures
        failures += [(seed, problem) for problem in teller.problems[:1]]
    return figures, failures


def main() -> None:
    told = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit is told of like Ctrl-C
    began, figures, failures = time.monotonic(), Counter[str](), list[tuple[int, str]]()
    last = told.first + told.histories
    pool = ProcessPoolExecutor(told.processes, initializer=_leave_signals)
    try:
        work = [pool.submit(_found, first, min(AT_ONCE, last - first)) for first in range(told.first, last, AT_ONCE)]
        for done in as_completed(work):
            more, found = done.result()
            figures += more
            failures += found
            for seed, problem in found:
                _tell(f"seed {seed}: {problem[:500]}")
    except KeyboardInterrupt:
        _tell("interrupted")
    finally:
        for process in list(pool._processes.values()):
            process.terminate()
    took_s = time.monotonic() - began
    _tell(f"of {told.histories} histories from seed {told.first}, in {took_s:.0f} s: {_told(figures)}")
    _tell(f"{len(failures)} failures")
    if figures[HISTORIES_TOLD] == told.histories:
        _shrink(sorted(failures)[:SHRUNK])
    sys.exit(1 if failures or figures[HISTORIES_TOLD] < told.histories else 0)


def _leave_signals() -> None:
    """To the process that has started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _shrink(failures: Iterable[tuple[int, str]]) -> None:
    from storm_histories import some_history
    from storm_shrink import shrunk

    for seed, problem in failures:
        _tell(f"\nseed {seed}: {problem[:1000]}\n    assert not told({shrunk(some_history(seed))}).problems")


def _told(figures: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(figures.items()))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fault storms in simulated time.")
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is a part of the history
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    tests = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str((tests / folder).resolve()) for folder in FOLDERS]
    main()
