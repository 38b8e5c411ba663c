"""What is asked: random words, or the prompts of a file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

_COMMON = (
    "about after again all also always another any around ask away back because before begin between big both "
    "but call can change child city close come could country day different do down each early end even every "
    "eye face fact family far feel few find first follow for friend from game get girl give go good great group grow "
    "hand have head help here high hold home hour house how idea if important in into just keep kind know land "
    "large last late lead learn leave let life light like line little live long look lot made make man many may mean "
    "might more most mother move much must name need never new next night no not now number of off often old on once "
    "one only open or order other our out over own page part people place plan play point power put question read "
    "real right room run same say school see set she should show side small so some start state still story "
    "study such system take tell than that the their them then there thing think this those three time to "
    "try turn two under until up use very walk want war water way we week well what when where which while "
    "white who why will with word work world would write year yes you young"
)
WORDS = tuple(_COMMON.split())
"""So common that a tokenizer for English has one token for each, with the space before it."""

_CHARACTERS_PER_TOKEN = 4
"""Of English text, by OpenAI's rule of thumb."""


@dataclass(frozen=True)
class Prompt:
    """One request."""

    text: str
    output_tokens: int | None
    """How long its answer is to be; None where the model decides."""


def random_prompts(count: int, *, words: int, output_tokens: int | None, randomness: Random) -> Sequence[Prompt]:
    """So many, each of so many words: no two begin alike, so that a prefix cache finds next to nothing."""
    return [Prompt(" ".join(randomness.choices(WORDS, k=words)), output_tokens) for _ in range(count)]


def prompts_of(file: Path, output_tokens: int | None) -> Sequence[Prompt]:
    """The prompts of a file, in its order: a JSON object a line, or ShareGPT's JSON. Raises UserError.

    A line has `prompt` (or `text`) and may have `output_tokens` (or `output_length`). Of each conversation of ShareGPT
    the first question is asked, and the answer is to be as long as the one that is there. `output_tokens` is for the
    prompts that say nothing of it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _bad(file, str(error)) from error
    rows = _of_list(file, text) if text.lstrip().startswith("[") else _of_lines(file, text)
    prompts = [
        Prompt(prompt.text, prompt.output_tokens or output_tokens)
        for where, row in rows
        if (prompt := _prompt(file, where, row)) is not None
    ]
    if not prompts:
        raise _bad(file, "it has no prompts")
    return prompts


def _of_list(file: Path, text: str) -> Iterator[tuple[str, object]]:
    return ((f"entry {number}", row) for number, row in enumerate(_json(file, "", text), start=1))


def _of_lines(file: Path, text: str) -> Iterator[tuple[str, object]]:
    lines = ((f"line {number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    return ((where, _json(file, f"{where}: ", line)) for where, line in lines)


def _json(file: Path, where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _bad(file, f"{where}{error}") from error


def _prompt(file: Path, where: str, row: object) -> Prompt | None:
    """None for a conversation that nobody begins with a question."""
    if isinstance(row, dict) and isinstance(row.get("conversations"), list):
        return _first_of(row["conversations"])
    text = _either(row, "prompt", "text") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(text, str) or not text:
        raise _bad(file, f"{where} has neither a text as `prompt` nor `conversations`")
    length = _either(row, "output_tokens", "output_length")
    if length is not None and (not isinstance(length, int) or length < 1):
        raise _bad(file, f"{where}: output_tokens is {length!r}, and has to be a number of tokens")
    return Prompt(text, length)


def _first_of(conversation: Sequence[object]) -> Prompt | None:
    said = [turn for turn in conversation if isinstance(turn, dict) and isinstance(turn.get("value"), str)]
    if len(said) < 2 or said[0].get("from") not in ("human", "user") or not said[0]["value"]:
        return None
    return Prompt(said[0]["value"], max(1, len(said[1]["value"]) // _CHARACTERS_PER_TOKEN))


def _either(row: Mapping[str, object], name: str, other: str) -> object:
    return row.get(name, row.get(other))


def _bad(file: Path, why: str) -> UserError:
    hint = 'write one line a request: {"prompt": "...", "output_tokens": 200}'
    return UserError(Exit.BAD_INPUT, "bad-dataset", f"cannot use {file} as a dataset: {why}", hint=hint)
