"""Bad answers by the hundred thousand: `python tests/simulation/bad_answers_soak.py [--cases 100000] [--from SEED]`.

Prints how many calls of which cloud ended how, and each problem, shrunk to what can be pasted into a test. Exit status
1 when there was one.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

FOLDERS = ("simulation", ".", "../templates")
CASES = 100_000
SHOWN = 30


def main() -> None:
    for folder in FOLDERS:
        sys.path.insert(0, str((Path(__file__).parents[1] / folder).resolve()))
    from answers_cases import play, shrunk
    from answers_recorded import EMULATORS, recorded

    told = _parser().parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        clouds = {cloud: recorded(cloud, Path(folder) / cloud) for cloud in told.clouds or EMULATORS}
        began, began_cpu = time.monotonic(), time.process_time()
        counts, bad = play(range(told.first, told.first + told.cases), clouds)
        _figures(counts)
        took = f"{time.monotonic() - began:.0f} s, {time.process_time() - began_cpu:.0f} s of CPU"
        _tell(f"{told.cases} cases from seed {told.first} in {took}: {len(bad)} problems")
        for kind, (first, count) in _kinds(bad).items():
            _tell(f"\n{count} x {kind}\n    {first.problem}\n    {shrunk(first.case, clouds)!r}"[:3000])
    sys.exit(1 if bad else 0)


def _kinds(bad: Iterable) -> dict[str, tuple]:  # type: ignore[type-arg]
    """The first of each, and how many there are."""
    kinds: dict[str, tuple] = {}  # type: ignore[type-arg]
    for one in bad:
        kind = f"{one.case.cloud} {one.case.call}: {one.problem[:40]}"
        first, count = kinds.get(kind, (one, 0))
        kinds[kind] = first, count + 1
    return dict(list(kinds.items())[:SHOWN])


def _figures(counts: Counter[tuple[str, str, str]]) -> None:
    calls = sorted({(cloud, call) for cloud, call, _ in counts})
    for cloud, call in calls:
        ends = {what: count for (of, one, what), count in counts.items() if (of, one) == (cloud, call)}
        told = ", ".join(f"{count} {what}" for what, count in sorted(ends.items(), key=lambda end: -end[1]))
        _tell(f"{cloud:7} {call:24} {told}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Mutated answers of the clouds.")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED")
    parser.add_argument("--cloud", action="append", dest="clouds")
    return parser


if __name__ == "__main__":
    main()
