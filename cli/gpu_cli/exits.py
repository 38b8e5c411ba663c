"""The exit statuses of `gpu`. Scripts branch on them: a number never changes its meaning."""

from enum import IntEnum, unique


@unique
class Exit(IntEnum):
    """What a run of `gpu` came to."""

    DONE = 0
    BUG = 1
    BAD_INPUT = 2
    NOTHING_FITS = 3
    CREDENTIALS = 4
    LAUNCH_FAILED = 5
    NEVER_HEALTHY = 6
    LIMIT_REACHED = 7
    NO_SUCH_DEPLOYMENT = 8
    CLEANUP_UNCONFIRMED = 9
    INTERRUPTED = 130
