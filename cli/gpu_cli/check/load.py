"""Many requests at once."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from gpu_cli.check.basics import COUNTING
from gpu_cli.check.finding import Broken
from gpu_cli.check.target import Target

LENGTHS_TOKENS = (64, 256)
"""Of the answers: the second time longer, if the first were over before all had begun."""


@dataclass(frozen=True)
class Span:
    """While one answer was being written. Seconds of one clock."""

    first_at: float
    last_at: float


def answers_many_at_once(target: Target) -> str:
    """At some moment all of them are being written: a server that takes one after the other has them apart."""
    wanted = target.promises.at_once
    most = 0
    for tokens in LENGTHS_TOKENS:
        most = max(most, most_at_once(_spans(target, wanted, tokens)))
        if most >= wanted:
            return f"{most} at once"
    if target.promises.recipe or most < 2:
        raise Broken(f"of {wanted} requests it wrote {most} at once, the others later")
    return f"{most} of {wanted} at once"


def most_at_once(spans: Sequence[Span]) -> int:
    """How many of them share a moment."""
    return max(sum(span.first_at <= other.first_at <= span.last_at for span in spans) for other in spans)


def _spans(target: Target, count: int, tokens: int) -> Sequence[Span]:
    over = Event()
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(_span, target, tokens, over) for _ in range(count)]
        try:
            return [one.result() for one in asked]
        finally:
            over.set()


def _span(target: Target, tokens: int, over: Event) -> Span:
    """Of one answer; what is left of it is not waited for once all is over for another reason."""
    request = target.request(COUNTING, max_tokens=tokens, stream=True)
    moments: list[float] = []
    with target.client.chat.completions.create(**request, extra_body=target.at_length) as stream:
        for _ in stream:
            moments.append(time.monotonic())
            if over.is_set():
                break
    if not moments:
        raise Broken("an answer is empty when many are asked for at once")
    return Span(moments[0], moments[-1])
