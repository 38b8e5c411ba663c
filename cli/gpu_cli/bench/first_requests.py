"""A few requests before the load: does it answer, how many tokens has a word, how long does one request take alone?"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_cli.bench.pressure import Endpoint
from gpu_cli.bench.prompts import Prompt
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.reach.engine_client import USER_AGENT

if TYPE_CHECKING:
    import httpx

FIXED_LENGTH = {"ignore_eos": True}
"""vLLM's field, which other servers know too: the answer goes on until it has the length that was asked for."""

LONGEST_ANSWER_TOKENS = 512
"""The most that is asked for where the model decides when its answer ends."""

_PATIENCE_S = 300.0
_OK = 200
_FIELD_REFUSED = (400, 422)


@dataclass(frozen=True)
class Answer:
    """What one request took."""

    input_tokens: int
    output_tokens: int
    seconds: float


class Caller:
    """Asks an endpoint, one request after the other; `chat` says by which of the two routes."""

    def __init__(self, endpoint: Endpoint, *, chat: bool) -> None:
        import httpx

        self._model = endpoint.model
        self._chat = chat
        self._client = httpx.Client(
            base_url=endpoint.base_url,
            headers={"Authorization": f"Bearer {endpoint.key.reveal()}", "User-Agent": USER_AGENT},
            timeout=_PATIENCE_S,
            follow_redirects=True,
            verify=endpoint.secure,  # the web's certificates take long to load
            trust_env=endpoint.secure,
        )

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def ask(self, prompt: Prompt, fields: Mapping[str, object]) -> Answer:
        """One whole answer. Raises UserError NEVER_HEALTHY when there is none that tells its tokens."""
        return _read(*self._post(prompt, fields))

    def accepted(self, prompt: Prompt) -> tuple[Mapping[str, object], Answer]:
        """Which extra fields may be sent along to have answers of the length asked for, and the answer with them."""
        response, seconds = self._post(prompt, FIXED_LENGTH)
        if response.status_code in _FIELD_REFUSED:
            return {}, self.ask(prompt, {})
        return FIXED_LENGTH, _read(response, seconds)

    def _post(self, prompt: Prompt, fields: Mapping[str, object]) -> tuple["httpx.Response", float]:
        import httpx

        question = {"messages": [{"role": "user", "content": prompt.text}]} if self._chat else {"prompt": prompt.text}
        length = prompt.output_tokens or LONGEST_ANSWER_TOKENS
        body = {"model": self._model, "max_tokens": length, **question, **fields}
        began = time.monotonic()
        try:
            response = self._client.post("chat/completions" if self._chat else "completions", json=body)
        except httpx.HTTPError as error:
            raise _not_answered(f"{type(error).__name__}: {error}") from error
        return response, time.monotonic() - began


def _read(response: "httpx.Response", seconds: float) -> Answer:
    if response.status_code != _OK:
        raise _not_answered(f"HTTP {response.status_code}: {' '.join(response.text.split())[:200]}")
    try:
        usage = response.json()["usage"]
        return Answer(int(usage["prompt_tokens"]), int(usage["completion_tokens"]), seconds)
    except (KeyError, TypeError, ValueError):
        raise _not_answered("its answer does not tell how many tokens it has (`usage`)") from None


def _not_answered(why: str) -> UserError:
    hint = "see whether it answers at all: gpu check NAME, and its log: gpu logs NAME"
    return UserError(Exit.NEVER_HEALTHY, "no-answer", f"the server does not answer a first request: {why}", hint=hint)
