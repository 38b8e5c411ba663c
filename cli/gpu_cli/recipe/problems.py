"""What is wrong with a recipe, in words for the person who wrote it."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from gpu_cli.did_you_mean import closest, did_you_mean
from gpu_cli.recipe.schema import Engine, Gpu, Recipe, RecipeLimits
from gpu_cli.yaml_file import Place, Problem, YamlMapping, place_text

if TYPE_CHECKING:  # pydantic leaves this type out at run time
    from pydantic_core import ErrorDetails

_SECTIONS: dict[str, type[BaseModel]] = {"": Recipe, "engine": Engine, "gpu": Gpu, "limits": RecipeLimits}
_KEYS = {
    section: tuple(field.alias or name for name, field in model.model_fields.items())
    for section, model in _SECTIONS.items()
}
_BY_PROVIDER = ("providers", "cache")
_EXPECTED = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list, such as [one, two]",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_short": "must not be an empty list",
    "string_too_short": "must not be empty",
    "finite_number": "must be a number",
    "missing": "is missing",
}


def schema_problems(
    error: ValidationError, said: YamlMapping, file: str, *, unknown_key: Callable[[Place], str] | None = None
) -> list[Problem]:
    """One problem for each thing that the schema refused. `unknown_key` words that of a key that it does not know;
    a recipe's, unless it is given.
    """
    name_unknown = unknown_key or _unknown_key
    return [
        Problem(file, said.line(_place(detail)), place_text(_place(detail)), _text(detail, said, name_unknown))
        for detail in error.errors(include_url=False)
        if detail["type"] != "default_factory_not_called"  # follows from another error that is listed
    ]


def provider_problems(said: YamlMapping, file: str, known: Collection[str]) -> list[Problem]:
    """Keys that are to name a provider and name none of the known; no problem when nothing is known."""
    if not known:
        return []
    sections = ((key, said.values.get(key)) for key in _BY_PROVIDER)
    places: list[Place] = [
        (key, name) for key, section in sections if isinstance(section, dict) for name in section if name not in known
    ]
    return [
        Problem(file, said.line(place), place_text(place), f"unknown provider{did_you_mean(str(place[-1]), known)}")
        for place in places
    ]


def _place(detail: "ErrorDetails") -> Place:
    """Where the error is; pydantic adds a step of its own when what is wrong is a mapping's key."""
    place = detail["loc"]
    return place[:-1] if place[-1:] == ("[key]",) and detail["type"] != "extra_forbidden" else place


def _text(detail: "ErrorDetails", said: YamlMapping, unknown_key: Callable[[Place], str]) -> str:
    kind, place, context = detail["type"], _place(detail), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(place)
    if kind == "string_type":
        return _not_text(place, said)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "greater_than":
        return f"must be above {context['gt']:g}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']:g}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']:,}"
    return _EXPECTED.get(kind, detail["msg"])


def _unknown_key(place: Place) -> str:
    """The key may be misspelt, or stand in the wrong section, or both."""
    section, key = place_text(place[:-1]), str(place[-1])
    meant = closest(key, {known for keys in _KEYS.values() for known in keys})
    if not meant:
        return "unknown key"
    if meant in _KEYS[section]:
        return f"unknown key; did you mean {meant}?"
    home = next(home for home in _KEYS if meant in _KEYS[home])
    return f"unknown key; did you mean {home}.{meant}?" if home else f"unknown key; {meant} stands outside of {section}"


def _not_text(place: Place, said: YamlMapping) -> str:
    """A number, date or boolean without quotes is the usual mistake: show the line to write."""
    source = said.texts.get(place)
    return f'must be text; put it in quotes: "{source}"' if source else "must be text"
