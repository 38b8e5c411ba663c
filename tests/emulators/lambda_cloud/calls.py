"""How a command of an emulated machine is called, and what it answers."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..server import Request

END, OUT, ERR = 0, 1, 2

Printed: TypeAlias = tuple[int, str]
"""Where, and what."""
Output: TypeAlias = Generator[Printed, None, int]
"""What a command prints while it runs; returns its exit status."""


@dataclass(frozen=True)
class Call:
    """One call of a command, with its arguments (without its name)."""

    arguments: Sequence[str]
    cwd: Path
    environ: Mapping[str, str]

    @property
    def is_root(self) -> bool:
        return "SUDO_UID" in self.environ


Command: TypeAlias = Callable[[Call], Output]


def said(text: str, exit: int = 0) -> Output:  # noqa: A002
    """Prints it as a line and is done."""
    if text:
        yield OUT, f"{text}\n"
    return exit


def failed(text: str, exit: int = 1) -> Output:  # noqa: A002
    """Complains and is done."""
    yield ERR, f"{text}\n"
    return exit


def called(request: Request) -> tuple[str, Call]:
    """The name of the command, and its call, as `on_path` asks for it: words, each ended by a NUL but for the last."""
    cwd, count, *words = request.body.decode(errors="surrogateescape").split("\0")
    (name, *arguments), environ = words[: int(count)], words[int(count) :]
    return name, Call(arguments, Path(cwd), dict(variable.split("=", 1) for variable in environ))


def as_parts(output: Output) -> Iterator[bytes]:
    """The answer that `on_path` understands: of each part the first byte tells what it is."""
    while True:
        try:
            where, text = next(output)
        except StopIteration as end:
            yield f"{END}{end.value}".encode()
            return
        yield f"{where}{text}".encode()
