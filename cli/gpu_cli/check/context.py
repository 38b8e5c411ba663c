"""The length of the context: what is promised can be used, and what is beyond it is refused cleanly."""

import math
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from gpu_cli.check.finding import Broken, Skipped
from gpu_cli.check.target import Target

WORD = " the"
"""One token in every tokenizer that we know; how many it takes here is measured."""
FEW_WORDS, MORE_WORDS = 20, 120
PROMPT_TIMEOUT_S = 900.0
"""A million tokens of prompt take a big machine minutes; a small one takes a minute for eight thousand."""
LEFT_UNUSED = 0.01
"""Where a word is not a whole number of tokens, the prompt is only nearly as long as it could be."""


@dataclass(frozen=True)
class Ruler:
    """How many tokens a prompt of so many words takes, by the server's own count."""

    tokens_per_word: float
    tokens_of_frame: float
    """What the chat template adds."""

    @property
    def is_exact(self) -> bool:
        """Each word is one token: any length can be had."""
        return self.tokens_per_word == 1

    def words_within(self, tokens: float) -> int:
        """The longest prompt that does not take more."""
        return math.floor((tokens - self.tokens_of_frame) / self.tokens_per_word)


def takes_what_it_promises(target: Target) -> str:
    """A prompt that leaves room for one token is answered."""
    promised, ruler = _promised(target), _ruler(target)
    served = target.served_context_tokens
    if served is not None and served < promised:
        raise Broken(f"it takes {served:,} tokens, not {promised:,}")
    room = promised - 1 if ruler.is_exact else promised * (1 - LEFT_UNUSED)
    try:
        used = _prompt_tokens(target, ruler.words_within(room))
    except openai.APITimeoutError:
        raise Skipped(f"a prompt of {room:,.0f} tokens is not answered within {PROMPT_TIMEOUT_S:.0f} s") from None
    if used < promised * (1 - 2 * LEFT_UNUSED):
        raise Broken(f"it counts {used:,} tokens of a prompt of {room:,.0f}")
    return f"{used:,} of {promised:,} tokens"


def refuses_more_than_it_takes(target: Target) -> str:
    """A prompt that is too long is answered with 400 and a message, and nothing else."""
    most, ruler = max(_promised(target), target.served_context_tokens or 0), _ruler(target)
    # The answer's one token is what is too much.
    words = ruler.words_within(most if ruler.is_exact else most * (1 + LEFT_UNUSED) + ruler.tokens_per_word)
    try:
        used = _prompt_tokens(target, words)
    except openai.BadRequestError as refusal:
        if not _message_of(refusal):
            raise Broken("it refuses a prompt that is too long, and does not say why as OpenAI's API does") from None
        return f"400 for more than {most:,} tokens"
    except openai.APIStatusError as error:
        if error.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise
        raise Broken(f"it answers a prompt that is too long with {error.status_code} instead of 400") from None
    raise Broken(f"it took a prompt that leaves no room in {most:,} tokens, and counted {used:,}")


def _message_of(refusal: openai.BadRequestError) -> object:
    """Where clients look for it: `{"error": {"message": …}}`."""
    try:
        return refusal.response.json()["error"]["message"]
    except (LookupError, TypeError, ValueError):
        return None


def _promised(target: Target) -> int:
    if target.context_tokens is None:
        raise Skipped("nobody says how long it is")
    return target.context_tokens


def _ruler(target: Target) -> Ruler:
    few, more = _prompt_tokens(target, FEW_WORDS), _prompt_tokens(target, MORE_WORDS)
    tokens_per_word = (more - few) / (MORE_WORDS - FEW_WORDS)
    if tokens_per_word <= 0:
        raise Skipped("it counts as many tokens for a longer prompt")
    return Ruler(tokens_per_word, few - FEW_WORDS * tokens_per_word)


def _prompt_tokens(target: Target, words: int) -> int:
    """As the server counts them, of a prompt of so many words that it has answered."""
    request = target.request(WORD * words, max_tokens=1)
    usage: Any = target.patient(PROMPT_TIMEOUT_S).chat.completions.create(**request).usage
    if usage is None:
        raise Skipped("it does not count tokens")
    return int(usage.prompt_tokens)
