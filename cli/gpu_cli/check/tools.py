"""Tool calls. What is asked of a model is asked again and again, of one city after the other, and the share is told.

A call has to be right: one that no client can use is a fault, however seldom. Whether to call is for the model to
choose: a fault is only what never comes right, and where it calls without need, or one tool at a time, that is told.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from gpu_cli.check.finding import Broken, Cannot
from gpu_cli.check.streaming import streamed
from gpu_cli.check.target import Target

Call = Mapping[str, Any]
CITIES = ("Paris", "Oslo", "Lima", "Cairo", "Tokyo")


def _tool(name: str, description: str, *, strict: bool) -> dict[str, Any]:
    city = {"type": "string", "enum": [*CITIES]}  # a value that has an end, also for a model that is forced
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": False}
    function = {"name": name, "description": description, "parameters": parameters, "strict": strict}
    return {"type": "function", "function": function}


def _tools(*, strict: bool) -> list[dict[str, Any]]:
    return [
        _tool(WEATHER, "The weather in a city now.", strict=strict),
        _tool(TIME, "The local time in a city now.", strict=strict),
    ]


WEATHER, TIME = "get_weather", "get_time"
TOOLS = _tools(strict=False)
"""As most clients offer them: what the model says is up to the model."""
STRICT_TOOLS = _tools(strict=True)
"""Only by these does vLLM 0.32 hold a call to the parameters that it has to have, also one that is forced."""
NAMES = frozenset({WEATHER, TIME})


class _OtherChoice(Exception):
    """The model would not, this time; the text says what it did."""


def calls_a_tool(target: Target) -> str:
    """A question that only a tool can answer gets one call."""
    return _share(target, lambda city: _check_one(_calls(target, _weather_in(city)), WEATHER))


def calls_a_tool_in_a_stream(target: Target) -> str:
    """The same, put together from the pieces of a stream."""
    return _share(target, lambda city: _check_one(_streamed_calls(target, _weather_in(city)), WEATHER))


def calls_several_tools(target: Target) -> str:
    """Several calls in one answer, each with its own id. A model that makes one at a time cannot do that."""

    def attempt(city: str) -> None:
        calls = _calls(target, _weather_in(f"{city} and in {CITIES[CITIES.index(city) - 1]}"))
        if len({call["id"] for call in calls}) < len(calls):
            raise Broken("two calls have the same id")
        if len(calls) < 2:
            raise _OtherChoice("it makes one call at a time" if calls else "it called no tool for two cities")

    return _share(target, attempt, never=Cannot)


def calls_what_it_is_told(target: Target) -> str:
    """The tool that the request names is called, whatever the question; with `required`, any."""

    def attempt(city: str) -> None:
        _check_one(_forced(target, _weather_in(city), {"type": "function", "function": {"name": TIME}}), TIME)
        _forced(target, "Say hello.", "required")

    return _share(target, attempt)


def calls_nothing_needlessly(target: Target) -> str:
    """No call where the request forbids it, nor where the question needs none; many small models call all the same."""

    def attempt(city: str) -> None:
        if calls := _calls(target, _weather_in(city), tool_choice="none"):
            raise Broken(f"it called {_name(calls[0])} for a request that forbids it")
        if calls := _calls(target, "What is 2 + 2?"):
            raise _OtherChoice(f"it called {_name(calls[0])} for 2 + 2")

    return _share(target, attempt, never=Cannot)


def _weather_in(city: str) -> str:
    return f"What is the weather in {city} now?"


def _share(target: Target, attempt: Callable[[str], None], *, never: type[Exception] = Broken) -> str:
    """How often it came right, and the worst of what else came.

    Raises Broken when one call was wrong, and `never` when the model always chose otherwise.
    """
    tried = [_tried(attempt, city) for city in islice(cycle(CITIES), target.repeat)]
    wrong, otherwise = (
        next((str(one) for one in tried if isinstance(one, kind)), "") for kind in (Broken, _OtherChoice)
    )
    share = f"{tried.count(None)}/{len(tried)}"
    told = ": ".join(filter(None, (share, wrong or otherwise)))
    if wrong:
        raise Broken(told)
    if None not in tried:
        raise never(told)
    return told


def _tried(attempt: Callable[[str], None], city: str) -> Exception | None:
    try:
        attempt(city)
    except (Broken, _OtherChoice) as problem:
        return problem
    return None


def _forced(target: Target, question: str, tool_choice: object) -> Sequence[Call]:
    calls = _calls(target, question, tools=STRICT_TOOLS, tool_choice=tool_choice)
    if not calls:
        raise Broken("it called no tool where the request forces it")
    return calls


def _calls(target: Target, question: str, **options: Any) -> Sequence[Call]:
    """Well-formed calls of tools that were offered. Raises Broken for any other."""
    choice = target.choice(question, **{"tools": TOOLS, **options})
    calls = [call.to_dict(warnings=False) for call in choice.message.tool_calls or []]
    return _checked(calls, choice.finish_reason, is_free="tool_choice" not in options)


def _streamed_calls(target: Target, question: str) -> Sequence[Call]:
    """Name and id come with the first piece of a call, its arguments bit by bit."""
    stream, calls = streamed(target, question, tools=TOOLS), dict[int, dict[str, Any]]()
    for choice in stream.choices:
        for piece in (choice.get("delta") or {}).get("tool_calls") or []:
            if "index" not in piece:
                raise Broken("a piece of a call in its stream does not say of which (no index)")
            call = calls.setdefault(piece["index"], {"id": None, "function": {"name": "", "arguments": ""}})
            call["id"] = call["id"] or piece.get("id")
            for part, text in (piece.get("function") or {}).items():
                call["function"][part] += text or ""
    return _checked(list(calls.values()), stream.finish_reason, is_free=stream.finish_reason is not None)


def _checked(calls: Sequence[Call], finish_reason: str | None, *, is_free: bool) -> Sequence[Call]:
    if calls and finish_reason == "length":
        raise _OtherChoice("its call came to no end")
    for call in calls:
        _check_form(call)
    if calls and is_free and finish_reason != "tool_calls":  # what is forced may end for `stop`, as OpenAI's does
        raise Broken(f"its call ended for {finish_reason!r} instead of 'tool_calls'")
    return calls


def _check_form(call: Call) -> None:
    name, arguments = _name(call), call["function"]["arguments"]
    if name not in NAMES:
        raise Broken(f"it called {name!r}, which is no tool that it was offered")
    if not call.get("id"):
        raise Broken(f"its call of {name} has no id")
    if not isinstance(arguments, str):
        raise Broken(f"the arguments for {name} are no text with JSON in it")
    try:
        said = json.loads(arguments)
    except ValueError:
        raise Broken(f"the arguments for {name} are no JSON: {arguments[:60]}") from None
    if not isinstance(said, dict) or said.keys() != {"city"} or not isinstance(said["city"], str):
        raise Broken(f"the arguments for {name} are not those that it takes: {arguments[:60]}")


def _check_one(calls: Sequence[Call], name: str) -> None:
    if not calls:
        raise _OtherChoice("it called no tool")
    if wrong := next((_name(call) for call in calls if _name(call) != name), ""):
        raise Broken(f"it called {wrong} instead of {name}")
    if len(calls) > 1:
        raise _OtherChoice(f"it made {len(calls)} calls instead of one")


def _name(call: Call) -> str:
    return str(call["function"]["name"])
