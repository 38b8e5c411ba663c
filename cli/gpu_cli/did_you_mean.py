"""A guess at what a person meant to type."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like this one; empty when none is close."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean version?` to put behind a message, or empty text when nothing known is close."""
    guess = closest(word, known)
    return f"; did you mean {guess}?" if guess else ""
