"""A level while it runs: how far it is, and whether it still makes sense to wait."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_cli.bench.pressure import Pressure, Standing, Timing
from gpu_cli.bench.records import Request

_MANY_FAILURES = 10
_LATENCIES = 3
_GAPS = 10


@dataclass(frozen=True)
class Patience:
    """How long a benchmark waits for what should come."""

    start_s: float = 120.0
    """For the generator to send its first request."""
    stalled_s: float = 60.0
    """Without an answer, beside three times the longest that one has taken."""
    failing_s: float = 10.0
    """While every request fails."""
    unfinished_s: float = 60.0
    """For the requests that are under way when a level's last one has been sent; and at least as long as a level."""


USUAL = Patience()


@dataclass(frozen=True)
class Course:
    """How a level is meant to go."""

    pressure: Pressure
    timing: Timing
    alone_s: float
    """What one request takes while the server has nothing else to do."""


def standing(course: Course, requests: Sequence[Request], now: float) -> Standing:
    """How far the level is, of which these requests have ended."""
    since = _begun_at(requests) if requests else now
    failed = sum(1 for request in requests if request.failure)
    tokens = sum(request.output_tokens for request in requests)
    return Standing(
        pressure=course.pressure,
        answered=len(requests) - failed,
        failed=failed,
        output_tokens_per_s=tokens / (now - since) if now > since else 0.0,
        remaining_s=max(0.0, since + course.timing.sending_s - now),
    )


def why_give_up(
    course: Course, patience: Patience, requests: Sequence[Request], *, now: float, quiet_s: float, begun: bool
) -> str:
    """Why waiting for the rest of the level is in vain; empty while it is not.

    `quiet_s` is for how long no request has ended, in this level or the one before; `begun` whether any ever has.
    """
    if quiet_s > _silence_s(course, patience, requests) + (0.0 if begun else patience.start_s):
        return f"no answer for {quiet_s:.0f} s"
    sending_s = course.timing.sending_s
    unfinished_s = now - _begun_at(requests) - sending_s if requests else 0.0
    if unfinished_s > max(patience.unfinished_s, sending_s):
        return f"requests were unfinished {unfinished_s:.0f} s after the last one was sent"
    return _only_failures(course, requests, patience.failing_s)


def why_not_whole(course: Course, requests: Sequence[Request]) -> str:
    """Why a level that is over is not whole: the server had ceased to answer by then. Empty where it is."""
    return _only_failures(course, requests, failing_s=0.0)


def _silence_s(course: Course, patience: Patience, requests: Sequence[Request]) -> float:
    """For how long nothing may be heard while all is well. Until the first answer, the server may take one by one."""
    one_by_one_s = course.alone_s * (course.pressure.concurrency or 1)
    longest_s = max((request.ended_at - request.started_at for request in requests), default=one_by_one_s)
    gap_s = _GAPS / course.pressure.rate_per_s if course.pressure.rate_per_s else 0.0
    return patience.stalled_s + _LATENCIES * longest_s + gap_s


def _only_failures(course: Course, requests: Sequence[Request], failing_s: float) -> str:
    last = requests[-max(_MANY_FAILURES, 2 * (course.pressure.concurrency or 0)) :]
    if not last or not all(request.failure for request in last):
        return ""
    since = max((request.ended_at for request in requests if not request.failure), default=_begun_at(requests))
    return f"every request fails: {last[-1].failure}" if last[-1].ended_at - since >= failing_s else ""


def _begun_at(requests: Sequence[Request]) -> float:
    return min(request.issued_at for request in requests)
