"""The endpoint that is checked, as its clients reach it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypedDict
from urllib.parse import urlsplit

import httpx
import openai
from openai.types import Model

from gpu_cli.check.finding import Broken, Cannot, Skipped
from gpu_cli.check.promises import Promises
from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.base import Secret

REQUEST_TIMEOUT_S = 120.0
"""For one short answer: a small machine takes its time."""
REASONED_TIMEOUT_S = 600.0
"""For one that comes after thoughts."""
ALIVE_TIMEOUT_S = 30.0
"""For one token."""
SHORT_TIMEOUT_S = 15.0
"""For what takes no computing."""
ANSWER_TOKENS = 256
REASONED_TOKENS = 4096
"""For an answer that comes after thoughts."""
UNKNOWN_ROOM_TOKENS = 2048
"""Of an answer, where nobody says how long it may be."""
HIDDEN_TOKENS = 2048
"""For thoughts that are not shown, and are counted."""
USUAL_TRIES = 3
MISREAD = (AttributeError, LookupError, TypeError, ValueError)
"""Clients take what a server says for what it should be, and stumble over what it is not."""


class _Ways(TypedDict):
    follow_redirects: bool
    verify: bool
    trust_env: bool


@dataclass(frozen=True)
class Target:
    """One model of one endpoint."""

    base_url: str
    key: Secret
    model: str
    promises: Promises
    client: openai.OpenAI
    """With the key, and without retries: what fails once has failed."""
    listed: Model | None = None
    """What the endpoint's own list says of the model."""
    repeat: int = USUAL_TRIES
    """How often a model is asked for what it may do one time and not another."""
    hides_thoughts: bool = False
    """It is one of OpenAI's own that take neither `max_tokens` nor a temperature."""

    @property
    def root_url(self) -> str:
        """Of the server, without `/v1`."""
        return self.base_url.removesuffix("/v1")

    @property
    def served_context_tokens(self) -> int | None:
        """What the server says of the context. vLLM does; it is not in OpenAI's own API."""
        told = getattr(self.listed, "max_model_len", None)
        return told if isinstance(told, int) and told > 0 else None

    @property
    def context_tokens(self) -> int | None:
        """What is promised; None when neither recipe nor server says it."""
        return self.promises.context_tokens or self.served_context_tokens

    @property
    def answer_tokens(self) -> int:
        """Room enough for an answer of a sentence or two."""
        return self.at_most(REASONED_TOKENS if self.promises.reasoning else ANSWER_TOKENS)

    @property
    def timeout_s(self) -> float:
        """For one such answer."""
        return _timeout_s(self.promises)

    @property
    def is_vllm(self) -> bool:
        """By its own word."""
        return self.listed is not None and self.listed.owned_by == "vllm"

    @property
    def at_length(self) -> Mapping[str, Any]:
        """Makes vLLM go on for as long as it may, whatever the model would like; others refuse what is not theirs."""
        return {"ignore_eos": True} if self.is_vllm else {}

    @property
    def key_header(self) -> Mapping[str, str]:
        """How the key is sent."""
        return {"Authorization": f"Bearer {self.key.reveal()}"}

    def at_most(self, tokens: int) -> int:
        """As many of an answer, or half of the context."""
        return min(tokens, self.context_tokens // 2 if self.context_tokens else UNKNOWN_ROOM_TOKENS)

    def request(self, question: str, *, max_tokens: int | None = None, **options: Any) -> dict[str, Any]:
        """What asks for the likeliest answer, so that it is the same each time."""
        most = self.answer_tokens if max_tokens is None else max_tokens
        asked = {"model": self.model, "messages": [{"role": "user", "content": question}], **options}
        if self.hides_thoughts:
            return {**asked, "max_completion_tokens": most + HIDDEN_TOKENS}
        return {**asked, "max_tokens": most, "temperature": 0}

    def refused(self, status: int, body: str) -> Exception:
        """What it means that a request was answered so."""
        if status == httpx.codes.TOO_MANY_REQUESTS and not self.promises.recipe:
            return Skipped(refusal(status, body))
        if status == httpx.codes.BAD_REQUEST and "chat template" in body:
            return Cannot("its model has no chat template: it is not made to chat")
        return Broken(refusal(status, body))

    def choice(self, question: str, **options: Any) -> Any:
        """The one answer, as the `openai` client gives it. Raises Broken when there is not one."""
        return only_choice(self.client.chat.completions.create(**self.request(question, **options)))

    def patient(self, timeout_s: float) -> openai.OpenAI:
        """The client, with more patience or with less."""
        return self.client.with_options(timeout=timeout_s)


def only_choice(answer: Any) -> Any:
    """Raises Broken for anything but one answer."""
    choices = getattr(answer, "choices", None) or []
    if len(choices) != 1:
        raise Broken(f"it answers with {len(choices)} choices instead of one")
    return choices[0]


def text_of(said: Any) -> str:
    """Of a message, or a piece of one: thoughts and answer. What holds the thoughts has two names."""
    parts = (getattr(said, name, None) for name in ("reasoning", "reasoning_content", "content"))
    return "".join(part for part in dict.fromkeys(parts) if isinstance(part, str))


def refusal(status: int, body: str) -> str:
    """An error answer in words: its message, where it has one."""
    try:
        said = json.loads(body)
        message = said.get("error", said)["message"]
    except (AttributeError, LookupError, TypeError, ValueError):
        message = body
    return f"it answers {status}: {message}"


def http_client(base_url: str, *, timeout_s: float) -> httpx.Client:
    """For what no OpenAI client asks or shows; without the key."""
    return httpx.Client(timeout=timeout_s, **_ways(base_url))


def _ways(base_url: str) -> _Ways:
    """Redirects are followed: an edge may send whoever waits elsewhere for the answer. No proxy sees what is plain."""
    encrypted = is_encrypted(base_url)
    return {"follow_redirects": True, "trust_env": encrypted, "verify": encrypted}  # certificates take long to load


def is_encrypted(base_url: str) -> bool:
    """Whether it is reached over TLS."""
    return urlsplit(base_url).scheme == "https"


@contextmanager
def reached(base_url: str, key: Secret, model: str | None, promises: Promises, *, repeat: int) -> Iterator[Target]:
    """The endpoint, once it has answered with the list of its models; without `model` the only one there.

    Raises UserError NEVER_HEALTHY when it does not answer, CREDENTIALS when it refuses the key, BAD_INPUT when it has
    to be told which model.
    """
    http = openai.DefaultHttpxClient(timeout=_timeout_s(promises), **_ways(base_url))
    with openai.OpenAI(base_url=base_url, api_key=key.reveal(), max_retries=0, http_client=http) as client:
        listed = _listed(client)
        chosen = model or _only(listed)
        known = next((one for one in listed if one.id == chosen), None)
        target = Target(base_url, key, chosen, promises, client, known, repeat)
        yield replace(target, hides_thoughts=not (promises.recipe or target.is_vllm) and _hides_thoughts(target))


def _timeout_s(promises: Promises) -> float:
    return REASONED_TIMEOUT_S if promises.reasoning else REQUEST_TIMEOUT_S


def _hides_thoughts(target: Target) -> bool:
    """OpenAI's models that think say which name they want instead."""
    try:
        target.client.chat.completions.create(**target.request("Hi", max_tokens=1))
    except openai.BadRequestError as refusal:
        return "max_completion_tokens" in refusal.response.text
    except openai.OpenAIError:  # the checks will tell
        return False
    return False


def still_answers(target: Target) -> bool:
    """Whether there is anybody left, and at work."""
    try:
        target.patient(ALIVE_TIMEOUT_S).chat.completions.create(**target.request("Hi", max_tokens=1))
    except openai.APIConnectionError:
        return False
    except (openai.OpenAIError, *MISREAD):
        return True
    return True


def _listed(client: openai.OpenAI) -> list[Model]:
    """Empty for a server without a list."""
    try:
        return list(client.models.list())
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise UserError(
            Exit.CREDENTIALS, "key-refused", "the endpoint refuses the key", hint="is it the key of this endpoint?"
        ) from error
    except openai.APIConnectionError as error:
        message = f"the endpoint does not answer: {type(error.__cause__ or error).__name__}"
        raise UserError(Exit.NEVER_HEALTHY, "no-answer", message, hint="is the URL right, and is it up?") from error
    except (openai.OpenAIError, *MISREAD):  # whatever this is, it is no list
        return []


def _only(listed: list[Model]) -> str:
    if len(listed) == 1:
        return listed[0].id
    names = ", ".join(model.id for model in listed[:10])
    message = f"the endpoint serves {len(listed)} models: {names}" if listed else "the endpoint lists no model"
    raise UserError(Exit.BAD_INPUT, "which-model", message, hint="name the one that you mean: --model")
