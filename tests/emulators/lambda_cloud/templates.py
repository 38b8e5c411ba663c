"""The few forms of Docker's `--format` that are understood: `{{.A.B}}`, `{{json .A}}`, `{{index .A "b"}}`."""

import json
import re
from collections.abc import Mapping
from typing import Any

ACTION = re.compile(r'\{\{\s*(?:(?P<json>json)\s+)?(?:index\s+)?\.(?P<path>[\w.]*)\s*(?:"(?P<key>[^"]*)")?\s*\}\}')


class TemplateError(Exception):
    """Docker's complaint."""


def formatted(template: str, document: Mapping[str, Any]) -> str:
    """The template filled in. Raises TemplateError for names that are not there, and for what is not understood."""
    text = ACTION.sub(lambda found: _value(found, document), template)
    if "{{" in text:
        raise TemplateError(f"template parsing error: template: {template!r} is not emulated")
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _value(found: re.Match[str], document: Mapping[str, Any]) -> str:
    value: Any = document
    for name in filter(None, found["path"].split(".")):
        if not isinstance(value, Mapping) or name not in value:
            raise TemplateError(
                f'template: :1:2: executing "" at <.{found["path"]}>: map has no entry for key "{name}"'
            )
        value = value[name]
    if found["key"] is not None:
        value = value.get(found["key"], "")
    return json.dumps(value) if found["json"] else _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
