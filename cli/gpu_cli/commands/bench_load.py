"""What a benchmark is asked to do, as it is typed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gpu_cli.bench.pressure import Pressure
from gpu_cli.bench.prompts import prompts_of
from gpu_cli.bench.result import Load
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.units import format_duration, parse_duration

Number = TypeVar("Number", int, float)

CONCURRENCIES = "1,2,4,8,16,32"
MOST_AT_ONCE, MOST_PER_S = 10_000, 10_000.0
SHORTEST_S = 1.0
FEWEST_ARRIVALS = 5
"""Of a level on average: it hardly ever has none then."""


def pressures_of(concurrency: str | None, rate: str | None, duration_s: float) -> Sequence[Pressure]:
    """By growing pressure, each once. Raises UserError `usage`."""
    if concurrency is not None and rate is not None:
        raise _usage("--concurrency and --rate exclude each other", "give one of them")
    if rate is not None:
        rates_per_s = _numbers("--rate", rate, float, MOST_PER_S)
        if rates_per_s[0] * duration_s < FEWEST_ARRIVALS:
            message = f"--rate {rates_per_s[0]:g}: that are hardly any requests in {format_duration(duration_s)}"
            raise _usage(message, f"--duration {format_duration(FEWEST_ARRIVALS / rates_per_s[0])} or more will do")
        return [Pressure(rate_per_s=value) for value in rates_per_s]
    at_once = CONCURRENCIES if concurrency is None else concurrency
    return [Pressure(concurrency=value) for value in _numbers("--concurrency", at_once, int, MOST_AT_ONCE)]


def load_of(
    input_tokens: int | None, output_tokens: int | None, dataset: Path | None, duration: str, *, streaming: bool
) -> Load:
    """The requests. Raises UserError `usage`, and for a dataset that cannot be used."""
    if dataset and input_tokens:
        raise _usage("--dataset and --input exclude each other", "the prompts of a dataset are as long as they are")
    if dataset and not dataset.is_file():
        raise _usage(f"--dataset: there is no file {dataset}", "name a JSON lines file")
    if dataset:
        prompts_of(dataset, output_tokens)
    try:
        duration_s = parse_duration(duration)
    except ValueError as error:
        raise _usage(f"--duration: {error}") from None
    if duration_s < SHORTEST_S:
        raise _usage(f"--duration: {duration} is too short to measure anything", "30s is usual")
    return Load(input_tokens, output_tokens, str(dataset.absolute()) if dataset else "", streaming, duration_s)


def plot_folder(folder: Path | None) -> Path | None:
    """The same, made: a folder that cannot be is told before anything is measured. Raises UserError `cannot-write`."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot make the folder {folder}: {error.strerror}"
            raise UserError(Exit.BAD_INPUT, "cannot-write", message, hint="--plot needs one") from None
    return folder


def _numbers(flag: str, text: str, parse: Callable[[str], Number], most: float) -> list[Number]:
    try:
        found = sorted({parse(part) for part in text.split(",")})
    except ValueError:
        raise _usage(f"{flag} {text}: write numbers with commas between them, as in 1,2,4") from None
    if not 0 < found[0] <= found[-1] <= most:
        raise _usage(f"{flag} {text}: above 0, and at most {most:g}")
    return found


def _usage(message: str, hint: str = "see gpu bench --help") -> UserError:
    return UserError(Exit.BAD_INPUT, "usage", message, hint=hint)
