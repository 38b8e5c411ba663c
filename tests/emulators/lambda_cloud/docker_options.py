"""The command lines of `docker`, read as Docker's own client reads them.

Sources: the reference of `docker run`, and docker/cli (its options come before the image; env files are read by the
client: lines of `NAME=VALUE`, nothing is quoted, and a line of 64 KiB is too long; unknown flags end with status 125).
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .calls import Call

LONGEST_LINE = 65_536
PORT = re.compile(r"(?:(?P<address>\d+\.\d+\.\d+\.\d+):)?(?P<port>\d+):(?P<declared>\d+)(?:/tcp)?")


class UsageError(Exception):
    """Docker's own complaint, with status 125."""


class Parser(argparse.ArgumentParser):
    """Which complains as Docker does."""

    def error(self, message: str) -> NoReturn:
        what, _, word = message.partition(": ")
        raise UsageError(_unknown(word.split()[0]) if what == "unrecognized arguments" else message)


@dataclass(frozen=True)
class Publication:
    """A port of the container that is published."""

    address: str
    port: int
    declared: int

    @property
    def is_public(self) -> bool:
        return not self.address.startswith("127.")


@dataclass(frozen=True)
class RunOptions:
    """What a container is to be."""

    image: str
    command: Sequence[str]
    name: str
    detached: bool
    removed: bool
    gpus: str
    entrypoint: str
    env: Mapping[str, str]
    labels: Mapping[str, str]
    published: Sequence[Publication]
    mounts: Mapping[str, str]
    """Where folders of the machine are in the container, by the folder."""


def told(call: Call, flags: Sequence[str] = (), values: Sequence[str] = (), least_words: int = 0) -> argparse.Namespace:
    """The options of any other command, each by its names, and its `words`. Raises UsageError."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for names in flags:
        parser.add_argument(*names.split(), action="store_true")
    for names in values:
        parser.add_argument(*names.split(), default="")
    parser.add_argument("words", nargs="*")
    found = parser.parse_intermixed_args(call.arguments)
    if len(found.words) < least_words:
        raise UsageError(f"requires at least {least_words} argument.")
    return found


def run_options(call: Call) -> RunOptions:
    """Of `docker run`. Options that are not emulated are unknown. Raises UsageError."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for names in ("-d --detach", "--rm"):
        parser.add_argument(*names.split(), action="store_true")
    for name in ("--name", "--gpus", "--entrypoint", "--ipc", "--shm-size"):
        parser.add_argument(name, default="")
    for names in ("-e --env", "--env-file", "-l --label", "-p --publish", "-v --volume", "--ulimit"):
        parser.add_argument(*names.split(), action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return _run_options(call, parser.parse_args(call.arguments))


def _run_options(call: Call, told: argparse.Namespace) -> RunOptions:
    if not told.command:
        raise UsageError("'docker run' requires at least 1 argument")
    if told.detach and told.rm:
        raise UsageError("--rm with --detach is not emulated")
    image, *command = told.command
    return RunOptions(
        image=image,
        command=command,
        name=told.name,
        detached=told.detach,
        removed=told.rm,
        gpus=told.gpus,
        entrypoint=told.entrypoint,
        env=_environment(call, told.env_file, told.env),
        labels=dict(_pair(label) for label in told.label),
        published=[_publication(text) for text in told.publish],
        mounts=dict(_mount(text) for text in told.volume),
    )


def _unknown(word: str) -> str:
    if word.startswith("--"):
        return f"unknown flag: {word.partition('=')[0]}"
    return f"unknown shorthand flag: '{word[1:2]}' in {word}"


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _publication(text: str) -> Publication:
    found = PORT.fullmatch(text)
    if not found:
        raise UsageError(f'invalid argument "{text}" for "-p, --publish" flag: invalid containerPort: {text}')
    return Publication(found["address"] or "0.0.0.0", int(found["port"]), int(found["declared"]))


def _mount(text: str) -> tuple[str, str]:
    source, _, rest = text.partition(":")
    return source, rest.partition(":")[0] or source


def _environment(call: Call, files: Sequence[str], words: Sequence[str]) -> Mapping[str, str]:
    """Of the files, then of the options; a name without a value has the caller's, if there is one."""
    lines = [line for file in files for line in _lines(call.cwd / file, file)]
    told = [*map(_variable, lines), *(word.partition("=") for word in words)]
    found = [(name, value if has_value else call.environ.get(name)) for name, has_value, value in told]
    return {name: value for name, value in found if value is not None}


def _lines(path: Path, file: str) -> Sequence[str]:
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UsageError(f"open {file}: {(error.strerror or '').lower()}") from None
    if any(len(line) >= LONGEST_LINE for line in lines):
        raise UsageError("bufio.Scanner: token too long")
    texts = [line.removesuffix(b"\r").decode().lstrip() for line in lines]
    return [text for text in texts if text and not text.startswith("#")]


def _variable(line: str) -> tuple[str, str, str]:
    name, has, value = line.partition("=")
    if not name:
        raise UsageError(f"no variable name on line '{line}'")
    if re.search(r"\s", name):
        raise UsageError(f"variable '{name}' contains whitespaces")
    return name, has, value
