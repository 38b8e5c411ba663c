"""The generator's records, a line of JSON for each request, and what they come to."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gpu_cli.bench.pressure import Pressure, Timing
from gpu_cli.bench.result import Level, Spread

_REASONS = {
    "ClientConnectorError": "no connection",
    "ConnectionRefusedError": "no connection",
    "ClientOSError": "cut off",
    "ClientPayloadError": "cut off",
    "ConnectionResetError": "cut off",
    "ServerDisconnectedError": "cut off",
    "TimeoutError": "timeout",
}


@dataclass(frozen=True)
class Request:
    """One request that has ended. Moments are seconds since the epoch."""

    level: int
    issued_at: float
    """When its turn came; under a fixed rate it may have been sent a little later."""
    started_at: float
    tokens_at: Sequence[float]
    """When the pieces of its answer came, of which each has about as many tokens; empty where it failed, or its answer
    did not stream.
    """
    ended_at: float
    input_tokens: int
    """As the server counts; 0 where it failed."""
    output_tokens: int
    failure: str
    """A short word for why there is no whole answer; empty where there is one."""

    @property
    def first_token_s(self) -> float:
        """How long the first piece took, of one that streams."""
        return self.tokens_at[0] - self.started_at

    @property
    def inter_token_s(self) -> float:
        """The mean of its answer: several tokens may come in one piece, so that single gaps say little."""
        return (self.ended_at - self.tokens_at[0]) / (self.output_tokens - 1)


def read_record(line: str) -> Request:
    """A line that AIPerf 0.13 writes for a request."""
    record = json.loads(line)
    about, metrics = record["metadata"], record.get("metrics") or {}
    started_at, failure = about["request_start_ns"] / 1e9, _failure(record)
    return Request(
        level=about["phase_index"],
        issued_at=about["credit_issued_ns"] / 1e9,
        started_at=started_at,
        tokens_at=array("d", [] if failure else _moments(started_at, metrics)),
        ended_at=about["request_end_ns"] / 1e9,
        input_tokens=0 if failure else int(_value(metrics, "usage_prompt_tokens") or 0),
        output_tokens=0 if failure else int(_value(metrics, "usage_completion_tokens") or 0),
        failure=failure,
    )


def level_of(requests: Sequence[Request], pressure: Pressure, timing: Timing, partial: str = "") -> Level:
    """What a level came to, in its window: the time after the warm-up in which new requests were still sent.

    Tokens are counted by when they came, so that the rate is that of a server kept busy, without its start and its end:
    those of an answer as they streamed, those of its prompt with the first of them. Without streaming both are spread
    evenly over the request. Latencies are those of the requests that began in the window, however long they took; of
    all that overlap it, where none began.

    A partial level's window ends with its last answer, and has the warm-up in it if nothing later was answered.
    """
    begin, end = _window(requests, timing, partial)
    answered = [request for request in requests if not request.failure]
    counted = _begun_within(requests, begin, end)
    whole = [request for request in counted if not request.failure]
    return Level(
        concurrency=pressure.concurrency,
        rate_per_s=pressure.rate_per_s,
        seconds=end - begin,
        requests=len(whole),
        errors=Counter(request.failure for request in counted if request.failure),
        input_tokens=round(sum(_input_within(request, begin, end) for request in answered)),
        output_tokens=round(sum(_output_within(request, begin, end) for request in answered)),
        time_to_first_token_s=_spread([request.first_token_s for request in whole if request.tokens_at]),
        inter_token_latency_s=_spread(
            [request.inter_token_s for request in whole if request.tokens_at and request.output_tokens > 1]
        ),
        latency_s=_spread([request.ended_at - request.started_at for request in whole]),
        partial=partial,
    )


def _failure(record: Mapping[str, Any]) -> str:
    error = record.get("error")
    if not error:
        return "" if _value(record["metrics"], "usage_completion_tokens") else "no usage"
    code, kind = error.get("code"), str(error.get("type"))
    return f"HTTP {code}" if code and code >= 400 and kind not in _REASONS else _REASONS.get(kind, kind)


def _moments(started_at: float, metrics: Mapping[str, Any]) -> Iterator[float]:
    first_ms = _value(metrics, "time_to_first_token")
    if first_ms is None:
        return iter(())
    gaps_ms = (metrics.get("inter_chunk_latency") or {"value": []})["value"]
    return accumulate((gap_ms / 1e3 for gap_ms in gaps_ms), initial=started_at + first_ms / 1e3)


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    found = metrics.get(name)
    return float(found["value"]) if found else None


def _window(requests: Sequence[Request], timing: Timing, partial: str) -> tuple[float, float]:
    first = min((request.issued_at for request in requests), default=0.0)
    begin, end = first + timing.warm_up_s, first + timing.sending_s
    if not partial:
        return begin, end
    answered = [request for request in requests if not request.failure]
    last = max((request.ended_at for request in answered), default=first)
    return (begin if any(request.started_at >= begin for request in answered) else first, min(end, last))


def _begun_within(requests: Sequence[Request], begin: float, end: float) -> Sequence[Request]:
    begun = [request for request in requests if begin <= request.started_at <= end]
    return begun or [request for request in requests if request.started_at < end and request.ended_at > begin]


def _input_within(request: Request, begin: float, end: float) -> float:
    if request.tokens_at:
        return request.input_tokens * (begin < request.tokens_at[0] <= end)
    return request.input_tokens * _share(request, begin, end)


def _output_within(request: Request, begin: float, end: float) -> float:
    if request.tokens_at:
        pieces = sum(begin < moment <= end for moment in request.tokens_at)
        return request.output_tokens * pieces / len(request.tokens_at)
    return request.output_tokens * _share(request, begin, end)


def _share(request: Request, begin: float, end: float) -> float:
    """Of the time that the request took, the part that lies in the window."""
    overlap_s = min(request.ended_at, end) - max(request.started_at, begin)
    return max(0.0, overlap_s) / (request.ended_at - request.started_at)


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    return Spread(*(_quantile(ordered, share) for share in (0.5, 0.9, 0.99)))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest values, linearly."""
    lower = int(share * (len(ordered) - 1))
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (share * (len(ordered) - 1) - lower)
