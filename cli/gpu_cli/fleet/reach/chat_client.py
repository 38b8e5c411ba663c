"""A conversation with a deployment, answer by answer, as it is written."""

import json
from collections.abc import Iterator, Mapping, Sequence

import httpx

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.reach.engine_client import USER_AGENT
from gpu_providers.base import Secret

TIMEOUT_S = 600.0
"""Between two pieces of an answer: a long prompt takes its time on a slow machine."""


def stream_answer(
    base_url: str, key: Secret, model: str, messages: Sequence[Mapping[str, str]], *, repeatable: bool
) -> Iterator[str]:
    """The pieces of the next answer; `repeatable` takes the likeliest token each time.

    Raises UserError NEVER_HEALTHY when the endpoint does not give one.
    """
    sampling = {"temperature": 0} if repeatable else {}
    request = {"model": model, "messages": list(messages), "stream": True, **sampling}
    headers = {"Authorization": f"Bearer {key.reveal()}", "User-Agent": USER_AGENT}
    try:
        with (
            # An edge may send whoever waits elsewhere for the answer; httpx takes the key to no other host.
            httpx.Client(timeout=TIMEOUT_S, trust_env=base_url.startswith("https://"), follow_redirects=True) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=request, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _refused(response.status_code, response.read().decode(errors="replace"))
            yield from filter(None, map(_text, response.iter_lines()))
    except httpx.HTTPError as error:
        message = f"the endpoint did not answer: {type(error).__name__}"
        raise UserError(Exit.NEVER_HEALTHY, "no-answer", message, hint="see what it is doing: gpu ls") from error


def _text(line: str) -> str:
    """The piece of text in one server-sent event; empty when there is none."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return ""
    choices = json.loads(data).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def _refused(status: int, body: str) -> UserError:
    return UserError(Exit.NEVER_HEALTHY, "no-answer", f"the endpoint answered {status}: {body[:300]}")
