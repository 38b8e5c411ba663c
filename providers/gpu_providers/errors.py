"""One error tree for all clouds, named for what the caller does next.

    ProviderError
    ├── AuthError             the credential is missing or refused: stop, tell the user
    │   └── NoCredentials     there is none at all: this cloud is not used
    ├── InsufficientFunds     the account cannot pay: stop, tell the user
    ├── QuotaExceeded         the account's own limit: try another provider
    ├── NoCapacity            this offer cannot be had now: try the next offer
    ├── RateLimited           asked too often: wait `retry_after_s`, then ask again
    ├── InvalidRequest        our fault or the recipe's: never try the next offer
    ├── HostFailed            this host will never run it: end it, try the next offer
    ├── CommandCrashed        its command ends again and again: end it, read its log
    ├── NotFound              the cloud says that it does not exist: for a resource, it is gone
    ├── ProviderUnavailable   no usable answer: nothing is known, ask again later
    │   └── Incomplete        of a list only a part is known: what it lacks may exist
    └── CreateUnknown         a create may have worked: look the name up before anything else

Callers branch on the type, never on the text. Turning a cloud's text into a type is its provider's job.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_providers.base import Resource


class ProviderError(Exception):
    """What a provider raises; `hint` is one line that says what to do about it.

    Neither text may hold a credential.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class AuthError(ProviderError):
    """The credential is missing or was refused."""


class NoCredentials(AuthError):
    """No credential is to be found: the user may have no account there."""


class InsufficientFunds(ProviderError):
    """The account has no money left for this."""


class QuotaExceeded(ProviderError):
    """A limit of the account, not of the cloud's capacity, forbids this."""


class NoCapacity(ProviderError):
    """This offer cannot be had now; another one may."""


class RateLimited(ProviderError):
    """The cloud asks for patience."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class InvalidRequest(ProviderError):
    """The request itself is wrong: another offer would refuse it too."""


class HostFailed(ProviderError):
    """What was launched will not come up on this host; another host may do."""


class CommandCrashed(ProviderError):
    """Its command ends and is started again, for ever, and that bills."""


class NotFound(ProviderError):
    """The cloud itself says that there is no such thing."""


class ProviderUnavailable(ProviderError):
    """The cloud gave no usable answer; nothing may be concluded from that."""


class Incomplete(ProviderUnavailable):
    """The cloud lists more than it tells of: `known` is what it does tell of."""

    def __init__(self, message: str, *, hint: str = "", known: "Sequence[Resource]") -> None:
        super().__init__(message, hint=hint)
        self.known = tuple(known)


class CreateUnknown(ProviderError):
    """A create was sent and its outcome is unknown: the resource may exist and bill."""
