"""What follows from each kind of failure of a start: one consequence, the same for every cloud. Here it is said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from gpu_cli.errors import UserError
from gpu_cli.fleet.launch.health import NeverHealthy
from gpu_providers.base import Offer
from gpu_providers.errors import (
    AuthError,
    CommandCrashed,
    CreateUnknown,
    HostFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)


class Next(Enum):
    """What is done next, in words for people."""

    WAIT = "wait as long as the cloud asks, then the same again"
    REGION = "the next region"
    HOST = "the next host"
    CARD = "the next GPU type with more memory"
    PROVIDER = "the next provider"
    STOP = "stop"


@dataclass(frozen=True)
class Bound:
    """How many failures of some kinds together are borne, and what then follows.

    Counted for each provider by itself where the next provider follows, else in all.
    """

    most: int
    then: Next


@dataclass(frozen=True)
class Failure:
    """One kind of failure. `word` is for scripts, the record and the table; it never changes its meaning."""

    word: str
    phrase: str
    """What has happened, for people."""
    then: Next
    bound: Bound | None = None
    billed: bool = False
    """It was made, may have billed, and did not become healthy."""
    passes: bool = False
    """Time alone may mend it."""

    @property
    def consequence(self) -> str:
        """All that follows, in words."""
        if self.bound is None:
            return self.then.value
        scope = "at one provider" if self.bound.then is Next.PROVIDER else "in all"
        after = f"after {self.bound.most} {scope}" if self.bound.most > 1 else "then"
        return f"{self.then.value}; {after} {self.bound.then.value}"


HOSTS = Bound(3, Next.PROVIDER)
"""When so many hosts of a cloud did not come up, it is not the hosts; and each of them is paid for."""
CRASHES = Bound(2, Next.STOP)
"""What crashes on two hosts crashes everywhere."""
SILENCES = Bound(2, Next.PROVIDER)
"""A cloud that did not answer so often will not answer about its other offers either."""
PATIENCE = Bound(1, Next.PROVIDER)
"""What has been waited for and asked again (`create.py`) is not waited for a second time."""

_CRASHED = Failure("crashed", "the engine crashed, and nothing says why", Next.HOST, CRASHES, billed=True)
_ENGINE_FAILED = Failure("engine-failed", "the engine says why it cannot serve this", Next.STOP, billed=True)
_LIMITS = frozenset({"idle", "deadline"})
_UNCONFIRMED = Failure("cleanup-unconfirmed", "what was tried is not confirmed gone", Next.STOP, billed=True)
_SILENT = Failure("unavailable", "the cloud gave no usable answer", Next.HOST, SILENCES, passes=True)
_LOST = Failure("create-unknown", "what came of the order is not known", Next.HOST, SILENCES, passes=True)
_BUSY = Failure("rate-limited", "the cloud was asked too often", Next.WAIT, PATIENCE, passes=True)
_HOST = Failure("host-failed", "the machine did not come up, or vanished", Next.HOST, HOSTS, billed=True, passes=True)

_BY_CLOUD: Mapping[type[ProviderError], Failure] = {
    NoCapacity: Failure("no-capacity", "the offer could not be had any more", Next.REGION, passes=True),
    HostFailed: _HOST,
    CommandCrashed: _CRASHED,
    RateLimited: _BUSY,
    ProviderUnavailable: _SILENT,
    CreateUnknown: _LOST,
    AuthError: Failure("credentials", "the credentials are missing or were refused", Next.PROVIDER),
    InsufficientFunds: Failure("no-funds", "the account cannot pay", Next.PROVIDER),
    QuotaExceeded: Failure("quota", "a limit of the account forbids it", Next.PROVIDER),
    InvalidRequest: Failure("invalid-request", "the cloud refused what the recipe asks for", Next.STOP),
    ProviderError: _SILENT,
}
"""The last one is for what a plug-in may come up with."""
_BY_DIAGNOSIS: Mapping[str, Failure] = {
    "out-of-memory": Failure("out-of-memory", "the engine ran out of memory", Next.CARD, billed=True),
    "engine-died": _CRASHED,
    "engine-hung": _CRASHED,
    "terminated": _HOST,
    "no-progress": _CRASHED,
    "start-deadline": Failure("start-deadline", "the start took longer than its deadline", Next.STOP, billed=True),
}

FAILURES: tuple[Failure, ...] = tuple(
    dict.fromkeys((*_BY_CLOUD.values(), *_BY_DIAGNOSIS.values(), _ENGINE_FAILED, _UNCONFIRMED))
)
"""All there are. The table in README.md is this one."""


def failure_of(error: BaseException) -> Failure | None:
    """Of which kind this error of a start is. None for what says nothing of the offer: Ctrl-C, `gpu down`, one of
    its limits, a bug.
    """
    if isinstance(error, ProviderError):
        return next((failure for kind, failure in _BY_CLOUD.items() if isinstance(error, kind)), None)
    if isinstance(error, NeverHealthy):
        return failure_by(error.code)
    if isinstance(error, UserError) and error.code == _UNCONFIRMED.word:
        return _UNCONFIRMED
    return None


def failure_by(code: str) -> Failure | None:
    """Of which kind a start has failed that ended for this reason, by our diagnosis or by its supervisor's word. None
    for a limit of its own.
    """
    return None if code in _LIMITS else _BY_DIAGNOSIS.get(code, _ENGINE_FAILED)


@dataclass(frozen=True)
class Attempt:
    """One offer that was ordered, and what came of it."""

    offer: Offer
    error: UserError | ProviderError | None
    """None for one that did not fail."""
    seconds: float
    """From the decision for it until it was ready, or verified gone."""
    cost_usd: float
    outcome: str = "ready"
    """What one came to that did not fail, for people."""

    @property
    def failure(self) -> Failure | None:
        """Of which kind; None for one that did not fail."""
        return failure_of(self.error) if self.error else None


def must_stop(tried: Sequence[Attempt]) -> bool:
    """Whether nothing else is to be tried after this."""
    return any(_follows(attempt.failure, tried, attempt.offer) is Next.STOP for attempt in tried)


def why_skipped(offer: Offer, tried: Sequence[Attempt]) -> str:
    """Why this offer is not to be tried, after what has been tried; empty when it may be."""
    for attempt in tried:
        follows = _follows(attempt.failure, tried, attempt.offer)
        if follows and _SKIPPED[follows](offer, attempt.offer) and attempt.failure:
            return f"{attempt.failure.phrase} ({attempt.offer.offer_id}): {follows.value}"
    return ""


def for_good(tried: Sequence[Attempt]) -> Sequence[Attempt]:
    """What would fail again however long one waits."""
    return [attempt for attempt in tried if attempt.failure and not attempt.failure.passes]


def may_pass(tried: Sequence[Attempt]) -> bool:
    """Whether it makes sense to try again later, after all of this has failed."""
    return not must_stop(tried) and any(attempt.failure and attempt.failure.passes for attempt in tried)


def _follows(failure: Failure | None, tried: Sequence[Attempt], offer: Offer) -> Next | None:
    if failure is None:
        return None
    if failure.bound and _count(failure.bound, tried, offer.provider) >= failure.bound.most:
        return failure.bound.then
    return failure.then


def _count(bound: Bound, tried: Sequence[Attempt], provider: str) -> int:
    counted = [attempt for attempt in tried if attempt.failure and _counts(attempt.failure, bound)]
    return sum(bound.then is not Next.PROVIDER or attempt.offer.provider == provider for attempt in counted)


def _counts(failure: Failure, bound: Bound) -> bool:
    """A host on which the engine crashed did not come up either."""
    return failure.bound is bound or (bound is HOSTS and failure.bound is CRASHES)


def _same_place(offer: Offer, failed: Offer) -> bool:
    """The same again: on that machine, or where the cloud does not tell machines apart anywhere in its regions."""
    return _place(offer) == _place(failed)


def _place(offer: Offer) -> tuple[object, ...]:
    return offer.provider, offer.kind, offer.gpu, offer.gpu_count, offer.region, offer.interruptible, offer.host


def _same_host(offer: Offer, failed: Offer) -> bool:
    same = offer.host == failed.host if offer.host else offer.offer_id == failed.offer_id
    return offer.provider == failed.provider and same


def _no_larger(offer: Offer, failed: Offer) -> bool:
    return offer.gpu_count * offer.gpu_memory_gib <= failed.gpu_count * failed.gpu_memory_gib


_SKIPPED: Mapping[Next, Callable[[Offer, Offer], bool]] = {
    Next.WAIT: _same_host,
    Next.REGION: _same_place,
    Next.HOST: _same_host,
    Next.CARD: _no_larger,
    Next.PROVIDER: lambda offer, failed: offer.provider == failed.provider,
    Next.STOP: lambda _offer, _failed: True,
}
"""Which offers are left out after a failure of another one."""
