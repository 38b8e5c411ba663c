"""Thousands of storms: `python tests/simulation/soak.py [--histories 10000] [--from SEED] [--processes 2]`.

Prints what was found: each failure with its seed, shrunk to what can be pasted into a test. Exit status 1 when there
was one.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FOLDERS = ("simulation", ".", "../templates")
HISTORIES = 10_000
AT_ONCE = 25
SHRUNK = 5
"""How many failures are shrunk: the others are told by their seed."""


def _found(first: int, count: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Of so many seeds."""
    from storm import told
    from storm_histories import some_history

    figures, failures = Counter[str](), list[tuple[int, str]]()
    for seed in range(first, first + count):
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
    began, figures, failures = time.monotonic(), Counter[str](), list[tuple[int, str]]()
    firsts = range(told.first, told.first + told.histories, AT_ONCE)
    counts = [min(AT_ONCE, told.first + told.histories - first) for first in firsts]
    with ProcessPoolExecutor(told.processes) as pool:
        for more, found in pool.map(_found, firsts, counts):
            figures += more
            failures += found
            for seed, problem in found:
                _tell(f"seed {seed}: {problem[:500]}")
    _tell(f"{told.histories} histories from seed {told.first} in {time.monotonic() - began:.0f} s: {_told(figures)}")
    _tell(f"{len(failures)} failures")
    _shrink(failures[:SHRUNK])
    sys.exit(1 if failures else 0)


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
