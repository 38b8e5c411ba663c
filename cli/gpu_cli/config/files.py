"""The two files of settings: finding, reading and changing them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_cli.config.keys import BAD_CONFIG, KEYS, PROJECT_FILE, Key
from gpu_cli.did_you_mean import did_you_mean
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.paths import Paths
from gpu_cli.write_file import write_text
from gpu_cli.yaml_file import BadFile, Problem, YamlMapping, parse_mapping, read_text


def user_file(paths: Paths) -> Path:
    """The user's settings; it may not exist."""
    return paths.config / "config.yaml"


def project_file(cwd: Path) -> Path | None:
    """The settings of the project around this folder, if it has any."""
    files = (folder / PROJECT_FILE for folder in (cwd, *cwd.parents))
    return next((file for file in files if os.access(file, os.F_OK)), None)


def find_key(name: str) -> Key[Any]:
    """The key of this name. Raises UserError `bad-config` that offers the nearest."""
    if name not in KEYS:
        raise UserError(Exit.BAD_INPUT, BAD_CONFIG, f"{name}: {_unknown(name)}", hint=f"the keys are {', '.join(KEYS)}")
    return KEYS[name]


def read_config(path: Path) -> Mapping[str, Any]:
    """The values that the file sets; none when there is no file. A key without a value sets nothing.

    Raises BadFile `bad-config` with everything that is wrong with it.
    """
    said = _parse(path)
    values: dict[str, Any] = {}
    problems = []
    for name, value in said.values.items():
        try:
            if name not in KEYS:
                raise ValueError(_unknown(name))
            if value is not None:
                values[name] = KEYS[name].parse(value)
        except ValueError as error:
            problems.append(Problem(str(path), said.line((name,)), name, str(error)))
    if problems:
        raise BadFile(BAD_CONFIG, problems)
    return values


def set_value(path: Path, key: Key[Any], value: object) -> None:
    """Say it in this file, which need not exist. Keeps other keys, even wrong ones, and loses comments.

    Raises UserError when the file cannot be read as YAML or cannot be written.
    """
    _write(path, {**_parse(path).values, key.name: key.written(value)})


def unset_value(path: Path, key: Key[Any]) -> bool:
    """Leave it unsaid in this file; false when it was. Keeps and raises as `set_value`."""
    raw = _parse(path).values
    if key.name not in raw:
        return False
    _write(path, {name: value for name, value in raw.items() if name != key.name})
    return True


def _parse(path: Path) -> YamlMapping:
    try:
        text = read_text(path, code=BAD_CONFIG)
    except FileNotFoundError:
        text = ""
    return parse_mapping(text, file=str(path), code=BAD_CONFIG)


def _write(path: Path, values: Mapping[str, object]) -> None:
    import yaml

    write_text(path, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True) if values else "")


def _unknown(name: str) -> str:
    return f"unknown key{did_you_mean(name, KEYS)}"
