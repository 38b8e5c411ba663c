"""What has been tried in a launch and did not work out: whether more of it makes sense, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_providers.base import Offer
from gpu_providers.errors import (
    AuthError,
    CommandCrashed,
    CreateUnknown,
    HostFailed,
    InsufficientFunds,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)

MOST_HOSTS = 3
"""When so many hosts did not come up, it is not the hosts; and each of them is paid for."""
MOST_SILENCES = 2
"""When a cloud did not answer so often, its other offers will not be answered either."""


@dataclass(frozen=True)
class Attempt:
    """A candidate that did not work out."""

    offer: Offer
    error: ProviderError

    @property
    def was_launched(self) -> bool:
        """It was made, and did not come up."""
        return isinstance(self.error, HostFailed | CommandCrashed)


def is_hopeless(provider: str, failed: Sequence[Attempt]) -> bool:
    """Whether another offer of this provider would end as those before."""
    errors = [attempt.error for attempt in failed if attempt.offer.provider == provider]
    silent = [error for error in errors if isinstance(error, ProviderUnavailable | RateLimited | CreateUnknown)]
    hosts = [attempt for attempt in failed if attempt.was_launched]
    refused = any(isinstance(error, AuthError | InsufficientFunds | QuotaExceeded) for error in errors)
    return refused or len(silent) >= MOST_SILENCES or len(hosts) >= MOST_HOSTS


def nothing_launched(failed: Sequence[Attempt]) -> UserError:
    """For the user, when all has been tried."""
    by_message: dict[str, list[str]] = {}
    for attempt in failed:
        by_message.setdefault(attempt.error.message, []).append(attempt.offer.offer_id)
    tried = "; ".join(f"{_in_short(offer_ids)}: {message}" for message, offer_ids in by_message.items())
    hints = dict.fromkeys(attempt.error.hint for attempt in failed if attempt.error.hint)
    return UserError(_exit_of(failed), "not-launched", f"nothing could be launched: {tried}", hint="; ".join(hints))


def _in_short(offer_ids: Sequence[str]) -> str:
    first, *others = offer_ids
    return f"{first} and {len(others)} more" if others else first


def _exit_of(failed: Sequence[Attempt]) -> Exit:
    if all(isinstance(attempt.error, AuthError | InsufficientFunds) for attempt in failed):
        return Exit.CREDENTIALS
    return Exit.NEVER_HEALTHY if any(attempt.was_launched for attempt in failed) else Exit.LAUNCH_FAILED
