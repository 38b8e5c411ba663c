"""What is settled before a benchmark's load: the prompts, which fields go along, and how long levels last."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from gpu_cli.bench.first_requests import Caller
from gpu_cli.bench.pressure import Endpoint, Pressure, Timing
from gpu_cli.bench.prompts import Prompt, prompts_of, random_prompts
from gpu_cli.bench.result import Load

_WARM_UP_SHARE = 1 / 6
_SPARE = 3
"""The first request, alone as it is, may have been slow."""
_FEWEST_PROMPTS = 100
_PROMPT_TOKENS = 5_000_000
"""All random prompts together: when they begin again, no cache remembers the first ones."""


@dataclass(frozen=True)
class Preparation:
    """The load in detail."""

    prompts: Sequence[Prompt]
    chat: bool
    """Whether the prompts are said as a user's messages; else they are continued as they are."""
    fields: Mapping[str, object]
    """Beside the usual ones in each request."""
    timing: Timing
    alone_s: float
    """What one request took while the server had nothing else to do."""


def prepare(endpoint: Endpoint, load: Load, pressures: Sequence[Pressure]) -> Preparation:
    """Asks the endpoint a few times. Raises UserError when it does not answer, or the dataset cannot be used.

    Random words are continued (`/v1/completions`: no template adds to them, and every model can); the prompts of a
    dataset are said (`/v1/chat/completions`: where the model decides, an answer has an end).
    """
    return _of_dataset(endpoint, load, pressures) if load.dataset else _random(endpoint, load, pressures)


def timing_for(load: Load, alone_s: float) -> Timing:
    """The warm-up is long enough for one request, so that concurrent ones are spread over their stages."""
    return Timing(max(load.duration_s * _WARM_UP_SHARE, min(alone_s, load.duration_s)), load.duration_s)


def prompts_needed(pressures: Sequence[Pressure], timing: Timing, alone_s: float, input_tokens: int) -> int:
    """So many that none comes twice: no request is faster than one that is alone."""
    each_s = [
        timing.sending_s * (pressure.rate_per_s or (pressure.concurrency or 1) / alone_s) for pressure in pressures
    ]
    return max(_FEWEST_PROMPTS, min(math.ceil(_SPARE * sum(each_s)), _PROMPT_TOKENS // input_tokens))


def _of_dataset(endpoint: Endpoint, load: Load, pressures: Sequence[Pressure]) -> Preparation:
    prompts = prompts_of(Path(load.dataset), load.output_tokens)
    with Caller(endpoint, chat=True) as caller:
        decided = all(prompt.output_tokens for prompt in prompts)
        fields, answer = caller.accepted(prompts[0]) if decided else ({}, caller.ask(prompts[0], {}))
    timing = timing_for(load, answer.seconds)
    count = prompts_needed(pressures, timing, answer.seconds, answer.input_tokens)
    return Preparation(prompts[:count], True, fields, timing, answer.seconds)


def _random(endpoint: Endpoint, load: Load, pressures: Sequence[Pressure]) -> Preparation:
    input_tokens, make = load.input_tokens or 1, partial(random_prompts, randomness=Random())
    with Caller(endpoint, chat=False) as caller:
        words = _words(caller, input_tokens, make)
        (first,) = make(1, words=words, output_tokens=load.output_tokens)
        fields, answer = caller.accepted(first)
    timing = timing_for(load, answer.seconds)
    count = prompts_needed(pressures, timing, answer.seconds, input_tokens)
    prompts = make(count, words=words, output_tokens=load.output_tokens)
    return Preparation(prompts, False, fields, timing, answer.seconds)


def _words(caller: Caller, input_tokens: int, make: Callable[..., Sequence[Prompt]]) -> int:
    """How many words make a prompt of at most so many tokens, by two short requests whose tokens the server counts."""
    few, more = max(1, input_tokens // 4), max(2, input_tokens // 2)
    few_tokens, more_tokens = (
        caller.ask(make(1, words=words, output_tokens=1)[0], {}).input_tokens for words in (few, more)
    )
    per_word = max(1.0, (more_tokens - few_tokens) / (more - few))
    return max(1, few + int((input_tokens - few_tokens) / per_word))
