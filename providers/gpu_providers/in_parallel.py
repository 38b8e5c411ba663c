"""Several requests at once, in threads that keep neither each other nor the end of the process waiting."""

import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

AT_ONE_CLOUD = 8
"""How many requests one cloud gets at once: they limit how often an account asks."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Work = Mapping[K, Callable[[], T]]


@dataclass(frozen=True)
class _Raised:
    """What came instead of an answer."""

    error: Exception


def at_once(ask: Callable[[K], T], each: Iterable[K]) -> list[T]:
    """What one cloud answers of each, in their order. Raises what `ask` raises of one of them."""
    work = {key: partial(ask, key) for key in each}
    answers = together(work, lambda _: "")
    return [answers[key] for key in work]


def together(
    work: Work[K, T],
    cloud_of: Callable[[K], str],
    *,
    patience_s: float = math.inf,
    last_one_s: float = math.inf,
) -> Mapping[K, T]:
    """What comes of each piece of work in time, by key: of a cloud `AT_ONE_CLOUD` run at once, of all clouds together.

    In time is within `patience_s` and, once all clouds but one have answered, within another `last_one_s`. What comes
    later is dropped; its thread ends with the process at the latest. Raises what one of them raises.
    """
    outcomes, unanswered = _begun(work, cloud_of), Counter(map(cloud_of, work))
    give_up_at, clouds = time.monotonic() + patience_s, len(unanswered)
    answers: dict[K, T] = {}
    while unanswered and (came := _next(outcomes, give_up_at)):
        key, outcome = came
        if isinstance(outcome, _Raised):
            raise outcome.error
        answers[key] = outcome
        unanswered -= Counter([cloud_of(key)])
        if len(unanswered) == 1 < clouds:
            give_up_at = min(give_up_at, time.monotonic() + last_one_s)
    return answers


def _begun(work: Work[K, T], cloud_of: Callable[[K], str]) -> "queue.SimpleQueue[tuple[K, T | _Raised]]":
    """Where the outcomes arrive."""
    outcomes: queue.SimpleQueue[tuple[K, T | _Raised]] = queue.SimpleQueue()
    queues: dict[str, deque[K]] = {}
    for key in work:
        queues.setdefault(cloud_of(key), deque()).append(key)
    for waiting in queues.values():
        for _ in range(min(len(waiting), AT_ONE_CLOUD)):
            threading.Thread(target=_drain, args=(waiting, work, outcomes), name="in-parallel", daemon=True).start()
    return outcomes


def _drain(waiting: deque[K], work: Work[K, T], outcomes: "queue.SimpleQueue[tuple[K, T | _Raised]]") -> None:
    """In one of several threads with the same queue."""
    while True:
        try:
            key = waiting.popleft()
        except IndexError:
            return
        try:
            outcomes.put((key, work[key]()))
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            outcomes.put((key, _Raised(error)))


def _next(outcomes: "queue.SimpleQueue[tuple[K, T | _Raised]]", give_up_at: float) -> tuple[K, T | _Raised] | None:
    """None when it is not there in time."""
    try:
        return outcomes.get(timeout=None if give_up_at == math.inf else max(0.0, give_up_at - time.monotonic()))
    except queue.Empty:
        return None
