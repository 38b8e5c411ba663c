"""The files of the price table: those that ship, and the user's own over them.

All have the same form, and say any part of it. What a file says takes the place of what was there, key by key, and a
key without a value removes it (JSON Merge Patch, RFC 7396). Beyond the table's own keys there are two things to say:
`as_of` and `source` hold, at whatever level they stand, for all prices below them in the same file; and of the sections
that `alone` names, nothing counts that came before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from gpu_cli.compare.catalogue import Catalogue
from gpu_cli.compare.price_table import (
    Api,
    ApiModel,
    Card,
    Figure,
    OpenModel,
    Ownership,
    Prices,
    RateLimits,
    Regional,
    Terms,
    UsdPerMillionTokens,
)
from gpu_cli.did_you_mean import did_you_mean
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths, shipped
from gpu_cli.recipe.problems import schema_problems
from gpu_cli.yaml_file import BadFile, Place, Problem, YamlMapping, parse_mapping, read_text

BAD_PRICES = "bad-prices"

_Table = dict[str, object]
_ALONE = "alone"
_ORIGIN = ("as_of", "source")
_NO_NOTE: _Table = {"note": None}  # what was noted of one price says nothing of another in its place
_EVERY = "*"
_SOURCED = (
    ("apis", _EVERY, "terms"),
    ("apis", _EVERY, "models", _EVERY),
    ("apis", _EVERY, "models", _EVERY, "limits"),
    ("apis", _EVERY, "models", _EVERY, "regional"),
    ("cards", _EVERY),
    ("ownership", _EVERY),
)
"""The places of what has an origin."""
_SECTIONS: tuple[type[BaseModel], ...] = (
    Prices, Api, ApiModel, UsdPerMillionTokens, Terms, RateLimits, Regional, OpenModel, Card, Ownership, Figure,
)  # fmt: skip
_KEYS = sorted({_ALONE, *(name for section in _SECTIONS for name in section.model_fields)})


@dataclass(frozen=True)
class _PriceFile:
    name: str
    said: YamlMapping
    alone: tuple[str, ...]
    values: _Table
    """What it says of the table, each price with its origin."""


def user_file(paths: Paths) -> Path:
    """The user's own prices; it may not exist."""
    return paths.config / "prices.yaml"


def load_catalogue(paths: Paths, file: Path | None = None) -> Catalogue:
    """The shipped table, the user's file over it and, over both, `file` (`gpu compare --prices FILE`).

    Raises BadFile `bad-prices` with everything that is wrong, by file, line and key; and UserError `bad-prices`
    where `file` does not exist.
    """
    table: _Table = {}
    for path in sorted(shipped("prices").glob("*.yaml")):
        table = _laid_over(table, _read(path))
    for own in _own_files(paths, file):
        table = _laid_over(table, own)
        _check(table, own)
    return Catalogue(Prices.model_validate(table))


def _own_files(paths: Paths, file: Path | None) -> Iterator[_PriceFile]:
    if user_file(paths).exists():
        yield _read(user_file(paths))
    if file is None:
        return
    try:
        yield _read(file)
    except FileNotFoundError:
        message, hint = f"no file {file}", "leave --prices out to use the prices that ship"
        raise UserError(Exit.BAD_INPUT, BAD_PRICES, message, hint=hint) from None


def _read(path: Path) -> _PriceFile:
    said = parse_mapping(read_text(path, code=BAD_PRICES), file=str(path), code=BAD_PRICES)
    # A price without a day must not pass for one of the day of what it replaces: no value removes that day.
    values = _with_origin(said.values, (), {"as_of": None, "source": str(path)})
    return _PriceFile(str(path), said, _alone(values.pop(_ALONE, ()), said, str(path)), values)


def _alone(value: object, said: YamlMapping, file: str) -> tuple[str, ...]:
    sections = tuple(Prices.model_fields)
    if isinstance(value, tuple) and all(name in sections for name in value):
        return value
    text = f"must be a list of any of {', '.join(sections)}"
    raise BadFile(BAD_PRICES, [Problem(file, said.line((_ALONE,)), _ALONE, text)])


def _with_origin(said: _Table, place: Place, origin: _Table) -> _Table:
    """The same, in which everything that has an origin says it: the nearest around it."""
    here = {**origin, **{key: said[key] for key in _ORIGIN if key in said}}
    inner = {
        key: _with_origin(value, (*place, key), here) if isinstance(value, dict) else value
        for key, value in said.items()
        if key not in _ORIGIN
    }
    says_prices = _is_sourced(place) and not all(_is_sourced((*place, key)) for key in inner)
    return {**_NO_NOTE, **inner, **here} if says_prices else inner


def _is_sourced(place: Place) -> bool:
    return any(
        len(place) == len(pattern) and all(step in (_EVERY, key) for step, key in zip(pattern, place, strict=True))
        for pattern in _SOURCED
    )


def _laid_over(table: _Table, file: _PriceFile) -> _Table:
    return _merged({section: value for section, value in table.items() if section not in file.alone}, file.values)


def _merged(base: _Table, patch: _Table) -> _Table:
    both = {**base, **{key: _patched(base.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in both.items() if value is not None}


def _patched(value: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    return _merged(value if isinstance(value, dict) else {}, patch)


def _check(table: _Table, file: _PriceFile) -> None:
    """What it was laid over is right, so that whatever is wrong is in this file."""
    try:
        Prices.model_validate(table)
    except ValidationError as error:
        problems = schema_problems(error, file.said, file.name, unknown_key=_unknown_key)
        dateless = any(problem.field.endswith("as_of") for problem in problems)
        hint = "say once, at the top of the file, of what day its prices are, such as as_of: 2026-11-22"
        raise BadFile(BAD_PRICES, problems, hint=hint if dateless else "") from None


def _unknown_key(place: Place) -> str:
    return f"unknown key{did_you_mean(str(place[-1]), _KEYS)}"
