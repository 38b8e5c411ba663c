"""Answers that programs read: JSON, and JSON of a given form."""

import json
from typing import Any

from gpu_cli.check.finding import Broken, Skipped
from gpu_cli.check.target import Target

CITIES = ("Paris", "Oslo", "Lima")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": [*CITIES]}, "is_capital": {"type": "boolean"}},
    "required": ["city", "is_capital"],
    "additionalProperties": False,
}
"""Every value is one of a few: a small model must be able to come to an end."""


def answers_in_json(target: Target) -> str:
    """With `json_object`, the answer is an object."""
    question = 'Answer with a JSON object that has the key "city" and the capital of France as its value.'
    document = _document(target, question, {"type": "json_object"})
    return f"an object with {len(document)} keys"


def answers_by_a_schema(target: Target) -> str:
    """With `json_schema`, the answer is what the schema says; the question does not."""
    schema = {"name": "city", "strict": True, "schema": SCHEMA}
    document = _document(target, "Tell me about Paris.", {"type": "json_schema", "json_schema": schema})
    if document.keys() != {"city", "is_capital"}:
        raise Broken(f"the schema has the keys city and is_capital, the answer {', '.join(map(str, document))}")
    if document["city"] not in CITIES or not isinstance(document["is_capital"], bool):
        raise Broken("a value is none of those that the schema allows")
    return "every key and value is allowed"


def _document(target: Target, question: str, response_format: dict[str, Any]) -> dict[str, Any]:
    choice = target.choice(question, response_format=response_format)
    text = (choice.message.content or "").strip()
    if choice.finish_reason == "length" and text[:1] in ("", "{"):
        raise Skipped(f"the model did not come to an end within {target.answer_tokens} tokens")
    try:
        document = json.loads(text)
    except ValueError:
        raise Broken(f"its answer is no JSON: {text[:60]}" if text else "its answer is empty") from None
    if not isinstance(document, dict):
        raise Broken("its answer is JSON, and no object")
    return document
