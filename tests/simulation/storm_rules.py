"""How clouds misbehave in a storm: the whole vocabulary of the kit, each word with what makes sense for it."""

import random
from collections.abc import Callable, Mapping
from typing import Any

Rule = dict[str, Any]
_Random = random.Random

CALLS = ("any", "create", "create", "list", "get", "delete", "delete", "delete", "offers", "logs")
LISTS_LAG_S = 8.0
"""Less than any of the providers waits for a list to show what was made."""


def _often(at: _Random, most: int = 4) -> int:
    return at.randint(1, most)


def _instead(at: _Random) -> Rule:
    return {"call": at.choice(CALLS), "times": _often(at, 6)}


def _either_way(at: _Random) -> Rule:
    return {**_instead(at), "when": at.choice(("before", "after"))}


def _once(at: _Random) -> Rule:
    return {"times": _often(at, 2)}


def _later(least_s: float, most_s: float) -> Callable[[_Random], Rule]:
    return lambda at: {"times": _often(at, 2), "seconds": round(at.uniform(least_s, most_s), 1)}


WORDS: Mapping[str, Callable[[_Random], Rule]] = {
    "rate-limit": lambda at: {**_instead(at), **at.choice(({}, {"retry_after": at.choice((1, 5, 20))}))},
    "server-error": lambda at: {**_either_way(at), "status": at.choice((500, 502, 503))},
    "reset": _either_way,
    "timeout": lambda at: {**_either_way(at), "times": _often(at, 2), "seconds": float(at.choice((5, 20, 70)))},
    "html": lambda at: {**_instead(at), "status": at.choice((200, 403, 502))},
    "edge-block": _instead,
    "truncated": _instead,
    "unknown-enum": _instead,
    "missing-fields": _instead,
    "no-capacity": _once,
    "no-funds": _once,
    "spend-limit": _once,
    "bid-too-low": _once,
    "ids-change": _once,
    "no-arrays": _once,
    "no-json-args": _once,
    "search-quota": _later(10, 60),
    "filters-ignored": _once,
    "stale-log": _once,
    "list-lag": _later(1, LISTS_LAG_S),
    "unseen": _later(1, LISTS_LAG_S),
    "delete-500-works": _once,
    "delete-204-stays": _once,
    "delete-locked": _once,
    "delete-lag": _later(5, 40),
    "early-running": _later(5, 60),
    "never-boots": _once,
    "crash-loop": _later(2, 8),
    "preempt": _later(20, 200),
    "outbid": _later(20, 200),
    "host-stops": _later(20, 200),
    "host-state": lambda at: {
        "times": 1,
        "seconds": at.uniform(5, 60),
        "text": at.choice(("offline", "unknown")),
    },
    "clipped-disk": _once,
    "no-container-key": _once,
    "container-key-dies": _once,
    "system-line": lambda at: {"times": 1, "text": at.choice(_HOST_LINES)},
    "auth-late": _later(5, 60),
    "plants-no-host-key": _once,
    "broken-gpu": _once,
    "old-driver": _once,
    "docker-broken": _once,
    "no-image": _once,
}

_HOST_LINES = (
    "error starting container: OCI runtime create failed",
    "failed to pull image: layer does not exist",
    "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0",
)


_LOST = ("server-error", "reset", "timeout")


def _answer_lost(at: _Random) -> Rule:
    """What was ordered is there, and nobody says so."""
    do = at.choice(_LOST)
    return {"do": do, "call": "create", "when": "after", "times": _often(at, 2), **_SECONDS.get(do, {})}


def _not_ended(at: _Random) -> Rule:
    """What was to be ended is there, whatever is said."""
    do = at.choice((*_LOST, "delete-204-stays"))
    when = {} if do == "delete-204-stays" else {"when": "before"}
    return {"do": do, "call": "delete", "times": _often(at, 3), **when, **_SECONDS.get(do, {})}


_OF_ONE_CLOUD: Mapping[tuple[str, str], Rule] = {("lambda", "host-state"): {"text": "unhealthy"}}
_SECONDS: Mapping[str, Rule] = {"timeout": {"seconds": 20.0}}


def some_rule(at: _Random, cloud: str, cloud_words: tuple[str, ...]) -> Rule:
    """One that this cloud is capable of; often one of those by which most is lost."""
    if at.random() < 0.4:
        rule = at.choice((_answer_lost, _not_ended))(at)
    else:
        do = at.choice([word for word in cloud_words if word in WORDS])
        rule = {"do": do, **WORDS[do](at), **_OF_ONE_CLOUD.get((cloud, do), {})}
    if at.random() < 0.15:
        del rule["times"]  # until it is mended, or the storm calms
    return rule
