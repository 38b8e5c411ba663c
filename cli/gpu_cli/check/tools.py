"""Tool calls. What is asked of a model is asked again and again, of one city after the other, and the share is told."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from gpu_cli.check.finding import Broken, Cannot
from gpu_cli.check.streaming import streamed
from gpu_cli.check.target import Target

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


def calls_a_tool(target: Target) -> str:
    """A question that only a tool can answer gets one call."""
    return _share(target, lambda city: _one_call(_calls(target, _weather_in(city)), WEATHER))


def calls_a_tool_in_a_stream(target: Target) -> str:
    """The same, put together from the pieces of a stream."""
    return _share(target, lambda city: _one_call(_streamed_calls(target, _weather_in(city)), WEATHER))


def calls_several_tools(target: Target) -> str:
    """Several calls in one answer, each with its own id. A model that makes one at a time cannot do that."""
    counts: list[int] = []

    def problem_in(city: str) -> str:
        calls = _calls(target, _weather_in(f"{city} and in {CITIES[CITIES.index(city) - 1]}"))
        counts.append(len(calls))
        return _problem_of(calls) or ("two calls have the same id" if _ids(calls) < len(calls) else "")

    _share(target, problem_in)
    if max(counts) < 2:
        raise Cannot("it makes one call at a time")
    return f"{sum(count > 1 for count in counts)}/{len(counts)}"


def calls_what_it_is_told(target: Target) -> str:
    """The tool that the request names is called, whatever the question; with `required`, any."""
    named = {"type": "function", "function": {"name": TIME}}
    return _share(
        target,
        lambda city: (
            _one_call(_calls(target, _weather_in(city), tools=STRICT_TOOLS, tool_choice=named), TIME)
            or _problem_of(_calls(target, "Say hello.", tools=STRICT_TOOLS, tool_choice="required"))
        ),
    )


def calls_nothing_needlessly(target: Target) -> str:
    """No call where the question needs none, nor where the request forbids it."""
    return _share(
        target,
        lambda city: (
            _no_call(_calls(target, "What is 2 + 2?"), "2 + 2")
            or _no_call(_calls(target, _weather_in(city), tool_choice="none"), "a request that forbids it")
        ),
    )


def _weather_in(city: str) -> str:
    return f"What is the weather in {city} now?"


def _cities(target: Target) -> Iterable[str]:
    return islice(cycle(CITIES), target.repeat)


def _share(target: Target, problem_in: Callable[[str], str]) -> str:
    """How often there was no problem. Raises Broken with the first one."""
    problems = [problem_in(city) for city in _cities(target)]
    share = f"{problems.count('')}/{len(problems)}"
    if first := next(filter(None, problems), ""):
        raise Broken(f"{share}: {first}")
    return share


def _ids(calls: Sequence[Mapping[str, Any]]) -> int:
    """How many different ones."""
    return len({call["id"] for call in calls})


def _calls(target: Target, question: str, **options: Any) -> Sequence[Mapping[str, Any]]:
    message = target.choice(question, **{"tools": TOOLS, **options}).message
    return [call.to_dict() for call in message.tool_calls or []]


def _streamed_calls(target: Target, question: str) -> Sequence[Mapping[str, Any]]:
    """Name and id come with the first piece of a call, its arguments bit by bit."""
    calls: dict[int, dict[str, Any]] = {}
    for choice in streamed(target, question, tools=TOOLS).choices:
        for piece in (choice.get("delta") or {}).get("tool_calls") or []:
            call = calls.setdefault(piece["index"], {"id": None, "function": {"name": "", "arguments": ""}})
            call["id"] = call["id"] or piece.get("id")
            for part, text in (piece.get("function") or {}).items():
                call["function"][part] += text or ""
    return list(calls.values())


def _one_call(calls: Sequence[Mapping[str, Any]], name: str) -> str:
    """What is wrong with them; empty for one right call."""
    if len(calls) > 1:
        return f"it made {len(calls)} calls instead of one"
    called = calls[0]["function"]["name"] if calls else name
    return _problem_of(calls) or ("" if called == name else f"it called {called} instead of {name}")


def _no_call(calls: Sequence[Mapping[str, Any]], what: str) -> str:
    return f"it called {calls[0]['function']['name']} for {what}" if calls else ""


def _problem_of(calls: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with them in form."""
    if not calls:
        return "it called no tool"
    return next(filter(None, map(_problem_of_one, calls)), "")


def _problem_of_one(call: Mapping[str, Any]) -> str:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if name not in NAMES:
        return f"it called {name!r}, which is no tool that it was offered"
    if not call.get("id"):
        return f"its call of {name} has no id"
    try:
        said = json.loads(arguments)
    except ValueError:
        return f"the arguments for {name} are no JSON: {arguments[:60]}"
    right = isinstance(said, dict) and said.keys() == {"city"} and isinstance(said["city"], str)
    return "" if right else f"the arguments for {name} are not those that it takes: {arguments[:60]}"
