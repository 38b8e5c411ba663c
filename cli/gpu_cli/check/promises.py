"""What an endpoint promises: its recipe's word, or that of the API alone."""

from dataclasses import dataclass

from gpu_cli.recipe.schema import Recipe

USUAL_AT_ONCE = 8
"""Requests at once, of an endpoint of which no recipe tells."""
MOST_AT_ONCE = 32
"""More than that would be a load test."""


@dataclass(frozen=True)
class Promises:
    """All that is not promised by the API itself."""

    recipe: str = ""
    """Whose word it is; empty for an endpoint that is known by its URL alone."""
    context_tokens: int | None = None
    """Of one request, prompt and answer; None leaves it to the server's own word."""
    at_once: int = USUAL_AT_ONCE
    """Requests that it answers at the same time."""
    tools: bool = False
    reasoning: bool = False
    plain_http: bool = False
    """Its user asked for an endpoint without TLS."""


def promises_of(recipe: Recipe, *, plain_http: bool = False) -> Promises:
    """What the recipe says. vLLM reads tool calls and reasoning out of answers only with a parser for them."""
    return Promises(
        recipe=recipe.name,
        context_tokens=recipe.context,
        at_once=min(recipe.concurrency, MOST_AT_ONCE),
        tools=recipe.tool_call_parser is not None,
        reasoning=recipe.reasoning_parser is not None,
        plain_http=plain_http,
    )
