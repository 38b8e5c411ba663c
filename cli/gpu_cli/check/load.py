"""Many requests at once."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gpu_cli.check.basics import COUNTING
from gpu_cli.check.finding import Broken
from gpu_cli.check.parallel import begun
from gpu_cli.check.target import Target, text_of

LENGTHS_TOKENS = (64, 256)
"""Of the answers: the second time longer, if the first were over before all had begun."""


@dataclass(frozen=True)
class Span:
    """While one answer was being written. Seconds of one clock."""

    first_at: float
    last_at: float
    prompt_tokens: int | None = None
    """Of its request, where the server tells that on the way."""


class Meeting:
    """Over as soon as all have begun before one has ended: then there is nothing more to learn."""

    def __init__(self, count: int) -> None:
        self.over = threading.Event()
        self._missing = count
        self._ended = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """One more is being written."""
        with self._lock:
            self._missing -= 1
            if self._missing == 0 and not self._ended:
                self.over.set()

    def end(self) -> None:
        """One has come to its end."""
        with self._lock:
            self._ended = True


def answers_many_at_once(target: Target) -> str:
    """At some moment all of them are being written: a server that takes one after the other has them apart.

    Where the server tells of what request an answer is, each is that of its own: no two are of one length.
    """
    wanted = target.promises.at_once
    most = 0
    for tokens in LENGTHS_TOKENS:
        spans = _spans(target, wanted, target.at_most(tokens))
        _check_owners(spans)
        most = max(most, most_at_once(spans))
        if most >= wanted:
            return f"{most} at once"
    if target.promises.recipe or most < 2:
        raise Broken(f"of {wanted} requests it wrote {most} at once, the others later")
    return f"{most} of {wanted} at once"


def most_at_once(spans: Sequence[Span]) -> int:
    """How many of them share a moment."""
    return max(sum(span.first_at <= other.first_at <= span.last_at for span in spans) for other in spans)


def _check_owners(spans: Sequence[Span]) -> None:
    """Each prompt is a word longer than the one before."""
    lengths = [span.prompt_tokens for span in spans if span.prompt_tokens is not None]
    if lengths != sorted(set(lengths)):
        raise Broken("when many are asked at once, an answer is that of another request")


def _spans(target: Target, count: int, tokens: int) -> Sequence[Span]:
    meeting = Meeting(count)
    asked = begun([partial(_span, target, place, tokens, meeting) for place in range(count)])
    try:
        return [one.result() for one in asked]
    finally:
        meeting.over.set()


def _span(target: Target, place: int, tokens: int, meeting: Meeting) -> Span:
    """Of one answer; what is left of it is not waited for once all is over."""
    request = target.request(COUNTING + " please" * place, max_tokens=tokens, stream=True)
    moments: list[float] = []
    prompt_tokens = None
    with target.client.chat.completions.create(**request, extra_body=_counting_on_the_way(target)) as stream:
        for chunk in stream:
            prompt_tokens = chunk.usage.prompt_tokens if chunk.usage else prompt_tokens
            if any(text_of(choice.delta) for choice in chunk.choices):
                moments.append(time.monotonic())
                if len(moments) == 1:
                    meeting.begin()
            if meeting.over.is_set():
                moments.append(time.monotonic())
                break
    meeting.end()
    if not moments:
        raise Broken("an answer is empty when many are asked for at once")
    return Span(moments[0], moments[-1], prompt_tokens)


def _counting_on_the_way(target: Target) -> Mapping[str, Any]:
    """vLLM counts with every piece if it is told to; others do not know that."""
    counting = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    return {**target.at_length, **counting} if target.is_vllm else {}
