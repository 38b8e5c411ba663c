"""Answers piece by piece: whole, counted, and over when their reader has gone."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace
from typing import Any

import httpx

from gpu_cli.check.basics import COUNTING, FINISHES, TEXT_TOKENS, check_counts
from gpu_cli.check.finding import Broken, Skipped
from gpu_cli.check.target import Target, http_client, text_of
from gpu_cli.fleet.reach.engine_client import EngineClient, EngineRefused, EngineUnreachable

END = "[DONE]"
LONG_TOKENS = 16384
"""Of an answer that nobody waits for: still under way after `FREED_WITHIN_S`, however fast."""
READ_CHUNKS = 4
"""Before it is cancelled; by then the gauge has it."""
FREED_WITHIN_S = 5.0
"""vLLM notices with its next step that nobody reads any more."""
ANSWERED_WITHIN_S = 30.0
POLL_S = 0.2


@dataclass(frozen=True)
class Streamed:
    """A stream as it came over the wire."""

    chunks: Sequence[Mapping[str, Any]]
    done: bool
    """The line came that says that it is over."""
    problem: str = ""
    """What broke it off; empty when its server ended it."""

    @property
    def choices(self) -> Sequence[Mapping[str, Any]]:
        """The pieces of the one answer."""
        return [choice for chunk in self.chunks for choice in chunk.get("choices") or []]

    @property
    def deltas(self) -> Sequence[Mapping[str, Any]]:
        """What each piece adds."""
        return [choice.get("delta") or {} for choice in self.choices]

    @property
    def pieces(self) -> Sequence[Mapping[str, Any]]:
        """Those that add text: thoughts or answer."""
        return [delta for delta in self.deltas if text_of(SimpleNamespace(**delta))]

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None when it did not say so."""
        return next((choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")), None)

    @property
    def is_whole(self) -> bool:
        """It came to its end."""
        return self.done and not self.problem and self.finish_reason is not None


def streamed(target: Target, question: str, **options: Any) -> Streamed:
    """The answer to one question, streamed. Raises Broken when its events are none, or what a refusal means."""
    return _sent(target, target.request(question, stream=True, **options))


def _sent(target: Target, request: Mapping[str, Any]) -> Streamed:
    events, problem = list[str](), ""
    with (
        http_client(target.base_url, timeout_s=target.timeout_s) as http,
        http.stream("POST", f"{target.base_url}/chat/completions", json=request, headers=target.key_header) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise target.refused(response.status_code, response.read().decode(errors="replace"))
        try:
            events += (line[5:].strip() for line in response.iter_lines() if line.startswith("data:"))
        except httpx.HTTPError as error:
            problem = type(error).__name__
    return _read(events, problem)


def _read(events: Sequence[str], problem: str) -> Streamed:
    try:
        chunks = [json.loads(event) for event in events if event != END]
    except ValueError:
        raise Broken("its stream has an event that is not JSON") from None
    return Streamed(chunks, END in events, problem)


def streams_to_the_end(target: Target) -> str:
    """Several pieces, the reason why it ended, and the line that says that it is over."""
    stream = streamed(target, COUNTING, max_tokens=TEXT_TOKENS)
    pieces, roles = stream.pieces, [role for delta in stream.deltas if (role := delta.get("role"))]
    if stream.problem:
        raise Broken(f"its stream broke off ({stream.problem}) after {len(pieces)} pieces")
    if stream.finish_reason not in FINISHES:
        raise Broken(f"its stream ends without a finish_reason, after {len(pieces)} pieces")
    if not stream.done:
        raise Broken("its stream ends without [DONE]")
    if len(pieces) < 2:
        raise Broken("its stream comes in one piece")
    if len(roles) > 1 and target.promises.recipe:  # OpenAI's client puts them together: assistantassistant
        raise Broken(f"its stream says {len(roles)} times whose words they are, instead of once")
    return f"{len(pieces)} pieces"


def counts_tokens_of_a_stream(target: Target) -> str:
    """With `include_usage`, the last piece counts the tokens."""
    wanted = {"stream": True, "stream_options": {"include_usage": True}}
    request = target.request(COUNTING, max_tokens=TEXT_TOKENS, **wanted)
    stream = _sent(target, request)
    if not stream.is_whole:
        raise Skipped("its stream is cut off")
    usages = [chunk["usage"] for chunk in stream.chunks if chunk.get("usage")]
    if not usages:
        raise Broken("its stream has no usage, which was asked for")
    return f"{check_counts(usages[-1], request, stream.finish_reason)} tokens in all"


def frees_the_slot_of_a_cancelled_stream(target: Target) -> str:
    """What nobody reads any more is not worked on: the engine's gauge says so, or else the next answer comes soon."""
    before = _running(target)
    _cancel_a_stream(target)
    began = time.monotonic()
    if before is None:
        _ask_briefly(target)
        return f"the next answer came after {time.monotonic() - began:.1f} s"
    while time.monotonic() - began < FREED_WITHIN_S:
        running = _running(target)
        if running is not None and running <= before:
            return f"free after {time.monotonic() - began:.1f} s"
        time.sleep(POLL_S)
    if before:
        raise Skipped(f"{before:g} other requests are running")
    raise Broken(f"{FREED_WITHIN_S:g} s after it was cancelled it still runs")


def _cancel_a_stream(target: Target) -> None:
    request = target.request(COUNTING, max_tokens=target.at_most(LONG_TOKENS), stream=True)
    with target.client.chat.completions.create(**request, extra_body=target.at_length) as stream:
        list(islice(stream, READ_CHUNKS))


def _ask_briefly(target: Target) -> None:
    target.patient(ANSWERED_WITHIN_S).chat.completions.create(**target.request(COUNTING, max_tokens=1))


def _running(target: Target) -> float | None:
    """Requests that it works on; None where it does not tell that."""
    try:
        with EngineClient(target.root_url, target.key) as engine:
            return engine.work().running
    except (EngineRefused, EngineUnreachable):
        return None
