"""What has been tried to bring something up, as it is told when all is over: to people, to scripts, in one error."""

from collections import Counter
from collections.abc import Mapping, Sequence

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.launch.health import NeverHealthy
from gpu_cli.fleet.launch.policy import Attempt
from gpu_providers.errors import AuthError, InsufficientFunds, InvalidRequest

MOST_MESSAGES = 3
"""In one error; the table has the rest."""


def why_nothing(tried: Sequence[Attempt]) -> UserError:
    """What there is to say when all that was tried has failed: the last word where nothing else made sense after it."""
    errors = [attempt.error for attempt in tried if attempt.error]
    last = errors[-1]
    if isinstance(last, InvalidRequest):
        return UserError(Exit.BAD_INPUT, "refused", last.message, hint=last.hint)
    if isinstance(last, UserError):
        return last
    if of_the_engine := [error for error in errors if isinstance(error, NeverHealthy)]:
        return of_the_engine[-1]
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    message = f"nothing could be launched: {_in_short(tried)}"
    return UserError(_exit_of(tried), "not-launched", message, hint="; ".join(hints))


def tried_document(tried: Sequence[Attempt]) -> Sequence[Mapping[str, object]]:
    """The key `tried` of documents and errors."""
    return [_document(attempt) for attempt in tried]


def _document(attempt: Attempt) -> Mapping[str, object]:
    offer = attempt.offer
    return {
        "provider": offer.provider,
        "kind": str(offer.kind),
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "region": offer.region,
        "offer_id": offer.offer_id,
        "failure": attempt.failure.word if attempt.failure else None,
        "message": attempt.error.message if attempt.error else attempt.outcome,
        "seconds": round(attempt.seconds, 1),
        "cost_usd": round(attempt.cost_usd, 6),
    }


def _in_short(tried: Sequence[Attempt]) -> str:
    first = {attempt.error.message: attempt.offer.offer_id for attempt in reversed(tried) if attempt.error}
    times = Counter(attempt.error.message for attempt in tried if attempt.error)
    told = [f"{first[message]}{_others(count - 1)}: {message}" for message, count in times.items()]
    more = len(told) - MOST_MESSAGES
    return "; ".join([*told[:MOST_MESSAGES], *([f"and {more} more reasons"] if more > 0 else [])])


def _others(count: int) -> str:
    return f" and {count} more" if count else ""


def _exit_of(tried: Sequence[Attempt]) -> Exit:
    if all(isinstance(attempt.error, AuthError | InsufficientFunds) for attempt in tried):
        return Exit.CREDENTIALS
    billed = any(attempt.failure and attempt.failure.billed for attempt in tried)
    return Exit.NEVER_HEALTHY if billed else Exit.LAUNCH_FAILED
