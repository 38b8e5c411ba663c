"""Python without what only people read, for where every character has to travel."""

import ast
import io
import tokenize
from collections.abc import Iterator


def slimmed(text: str) -> str:
    """The same program: strings that are statements (docstrings) are empty; blank lines and lines of comment are gone.

    The code stays as it was written, so a traceback shows real lines of real functions; only their numbers differ.
    Raises SyntaxError for what is no Python.
    """
    tree, lines = ast.parse(text), text.split("\n")
    dropped = set(_empty_lines(text, lines))
    for string in _lone_strings(tree, lines):
        lines[string.lineno - 1] = f'{" " * string.col_offset}""'
        dropped |= set(range(string.lineno + 1, (string.end_lineno or 0) + 1))
    return "".join(f"{line}\n" for number, line in enumerate(lines, start=1) if number not in dropped)


def _empty_lines(text: str, lines: list[str]) -> Iterator[int]:
    """Numbers of the lines that are blank or hold a comment alone, those inside strings not among them."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type in (tokenize.NL, tokenize.COMMENT) and not lines[row - 1][:column].strip():
            yield row


def _lone_strings(tree: ast.Module, lines: list[str]) -> Iterator[ast.Expr]:
    """Statements that are nothing but a string and share their lines with nothing else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            before = lines[node.lineno - 1].encode()[: node.col_offset]
            after = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :]
            if not before.strip() and not after.strip():
                yield node
