"""Shipped files without their documentation: the same programs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_cli.fleet.node.slim import slimmed
from gpu_cli.paths import shipped
from gpu_cli.weights import fetcher

SHIPPED = [*sorted(shipped("templates").glob("*.py")), Path(fetcher.__file__)]

HARD = '''#!/usr/bin/env python3
"""Module."""
# comment
import os  # kept: it shares its line


class Empty:
    """Only this."""


class Fields:
    a: int
    """Of a field,
    over two lines."""
    b = """kept

    # kept too
    """


def ü(x):
    "ü"; y = "beside code"
    value = [
        1,

        # inside brackets
        2,
    ]
    return f"""{x}

# kept: {y}
""", value, os.sep
'''


def without_docstrings(text: str) -> str:
    """The program as the compiler sees it, but for strings that do nothing."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_stays_the_same_program(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    slim = slimmed(text)
    assert without_docstrings(slim) == without_docstrings(text)
    assert len(slim) < 0.9 * len(text)
    assert set(slim.splitlines()) <= {*text.splitlines(), *(f'{" " * indent}""' for indent in range(0, 12, 4))}


def test_what_shares_a_line_with_code_or_lies_inside_a_string_is_kept() -> None:
    slim = slimmed(HARD)
    assert without_docstrings(slim) == without_docstrings(HARD)
    for kept in ("# kept: it shares its line", "\n\n    # kept too\n", "\n\n# kept: {y}\n", '"ü"; y = "beside code"'):
        assert kept in slim
    for gone in ("#!", "Module", "# comment", "Only this", "over two lines", "inside brackets"):
        assert gone not in slim


def test_a_traceback_still_names_the_function_and_shows_its_line(tmp_path: Path) -> None:
    text = (shipped("templates") / "supervisor.py").read_text(encoding="utf-8")
    (tmp_path / "slim_supervisor.py").write_text(slimmed(text), encoding="utf-8")
    code = "import slim_supervisor; slim_supervisor.parse_config('{')"
    failed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "in parse_config\n    raise BadConfig(" in failed.stderr


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        slimmed("def broken(:\n")
