"""YAML files that people write: plain values, the line of each, and errors that name the place.

Scalars are read as YAML 1.2 has them, so that nothing changes its meaning unseen: only `true` and `false` are
booleans (`no` and `on` are text), `010` is text and not eight, and `1:30` and dates are text. What PyYAML's
`safe_dump` writes is read back as it was.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

Place = tuple[str | int, ...]
"""The way to a value: keys and positions, outermost first."""

_MAX_VALUES = 10_000
_MAX_SHOWN = 5
_WORDS: Mapping[str, bool | None] = {
    spelling: value
    for word, value in {"": None, "~": None, "null": None, "true": True, "false": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
# No exponent without a point: a commit such as 12345e67 is text.
_FLOAT = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
# YAML can escape what it forbids; no value here has use for it, and a command line or a terminal can be harmed by it.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file. `line` counts from 1, and is 0 where the file as a whole is meant."""

    file: str
    line: int
    field: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.text}" if self.field else f"{place}: {self.text}"


class BadFile(UserError):
    """What a file says cannot be used; `problems` has everything that is wrong with it."""

    def __init__(self, code: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        shown = [str(problem) for problem in problems[:_MAX_SHOWN]]
        more = [f"and {len(problems) - _MAX_SHOWN} more"] if len(problems) > _MAX_SHOWN else []
        super().__init__(Exit.BAD_INPUT, code, "; ".join(shown + more), hint=hint)
        self.problems = tuple(problems)


@dataclass(frozen=True)
class YamlMapping:
    """What a file says. Sequences are tuples; `lines` and `texts` hold the line and the source text by place."""

    values: dict[str, object]
    lines: Mapping[Place, int]
    texts: Mapping[Place, str]

    def line(self, place: Place) -> int:
        """The line of this place or, where the file has none, of the nearest one around it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]


def read_text(path: Path, *, code: str, shown: str = "") -> str:
    """The file's text; messages call it `shown`. Raises FileNotFoundError, and BadFile with `code` for a file that
    is there and cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        reason = "is a folder, not a file"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text (byte {error.start + 1})"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    raise BadFile(code, [Problem(shown or str(path), 0, "", reason)])


def parse_mapping(text: str, *, file: str, code: str) -> YamlMapping:
    """The file's mapping; an empty file is an empty one. Raises BadFile with `code`; messages call it `file`."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        reader = _Reader()
        value = reader.read(root, ()) if root else {}
        if not isinstance(value, dict):
            raise _Wrong(reader.lines[()], "", "must be a mapping of keys to values, such as `model: ORG/MODEL`")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise BadFile(code, [Problem(file, line, "", _syntax(error))]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadFile(code, [Problem(file, line, "", "holds a character that YAML forbids")]) from None
    except RecursionError:
        raise BadFile(code, [Problem(file, 0, "", "is nested too deeply")]) from None
    except _Wrong as wrong:
        raise BadFile(code, [Problem(file, wrong.line, wrong.field, wrong.text)]) from None
    return YamlMapping(value, {(): 1, **reader.lines}, reader.texts)


def place_text(place: Place) -> str:
    """The way to a value for people: `engine.args[2]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


class _Wrong(Exception):
    def __init__(self, line: int, field: str, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.field = field
        self.text = text


@dataclass
class _Reader:
    """Turns nodes into values and writes down where each was; one use."""

    lines: dict[Place, int] = field(default_factory=dict)
    texts: dict[Place, str] = field(default_factory=dict)

    def read(self, node: yaml.Node, place: Place) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        # Aliases repeat what they name: without a bound, a few lines could stand for billions of values.
        if len(self.lines) > _MAX_VALUES:
            raise _Wrong(line, place_text(place), f"more than {_MAX_VALUES} values")
        if node.tag not in _PLAIN_TAGS:
            raise _Wrong(line, place_text(place), f"the tag {node.tag} is not known here")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.read(item, (*place, index)) for index, item in enumerate(node.value))
        self.texts[place] = node.value
        return self._scalar(node, place)

    def _scalar(self, node: yaml.Node, place: Place) -> object:
        if _FORBIDDEN.search(node.value):
            raise _Wrong(node.start_mark.line + 1, place_text(place), "holds a control character")
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _plain(node.value) if plain else node.value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str) or _FORBIDDEN.search(key) or "\n" in key:
                raise _Wrong(line, place_text(place), "a key must be plain text in one line")
            there = (*place, key)
            if key in values:
                raise _Wrong(line, place_text(there), f"is there twice; first in line {self.lines[there]}")
            self.lines[there] = line
            values[key] = self.read(value_node, there)
        return values


def _plain(text: str) -> object:
    """An unquoted scalar's value."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "is not YAML"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "mapping values are not allowed" in problem:
        return "a second `: ` in the line; put text that holds one in quotes"
    return f"not valid YAML: {problem}"
