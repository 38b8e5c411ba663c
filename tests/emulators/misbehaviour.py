"""How a cloud is told to misbehave: a list of rules, the same words for every cloud that can do it (`Cloud.WORDS`).

    - {do: no-capacity, gpu: H100, times: 2}      # the first two creates of an H100 find none
    - {do: server-error, call: create, when: after}   # every create works, and answers 500

A rule applies to its `call` (its own default in WHATS), skips the first `after` of them, and then `times` of them (for
ever when absent); of several, the first in the list that still applies counts. Rules come as mappings, or as a file of
JSON or YAML.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import yaml

CALLS = ("create", "list", "get", "delete", "update", "offers", "logs", "volumes", "proxy", "account")
"""What a route can be to a rule; `any` means all of them except the proxy."""


@dataclass(frozen=True)
class What:
    """One way to misbehave: what a rule's `call` is unless it says so, and what happens."""

    call: str
    meaning: str


WHATS: Mapping[str, What] = {
    # instead of the right answer, whichever call it is
    "rate-limit": What("any", "429, with Retry-After when `retry_after` (seconds) is given"),
    "server-error": What("any", "`status` (500), `when: before` the call took effect or `after`"),
    "reset": What("any", "the connection is reset, `when: before` the call took effect or `after`"),
    "timeout": What("any", "nothing is answered for `seconds` of real time, `when: before` or `after`, then a 504"),
    "unavailable": What("any", "UNAVAILABLE, of a cloud that speaks gRPC, `when: before` or `after` it took effect"),
    "html": What("any", "`status` (200) with a web page"),
    "edge-block": What("any", "403 with a web page, error code 1010, as if the client were a bot"),
    # the right answer, spoiled
    "truncated": What("any", "half of the answer's text"),
    "unknown-enum": What("any", "every status, and whatever else has a fixed set of values, has one that nobody knows"),
    "missing-fields": What("any", "the answer without its optional fields, or without `fields`"),
    # creates that are refused
    "no-capacity": What("create", "refused as sold out, with `status` (the cloud's own), or waits until the rule ends"),
    "no-funds": What("create", "refused for lack of money, with `status` (the cloud's own)"),
    "spend-limit": What("create", "refused because the account may not spend so much"),
    "bid-too-low": What("create", "refused, with `status` (200), and yet there is a stopped resource that costs"),
    "ids-change": What("create", "all that is for sale has another id since it was looked for"),
    "image-build-failed": What("create", "the build of its image fails, with `text` for the last line of its log"),
    "gpu-refused": What("create", "refused because the account may not have such a GPU"),
    "tokens-refused": What("account", "refused: this key may not make tokens for the edge"),
    "slow-publish": What("create", "takes `seconds` of real time until it is published"),
    "lost-publish": What("create", "is published, and the answer is lost"),
    "no-arrays": What("create", "refused when it has a command or an entrypoint as an array"),
    "no-json-args": What("create", "refused when its command is JSON text"),
    # searches and logs
    "search-quota": What("offers", "refused until midnight UTC, or for `seconds`: the day's searches are used up"),
    "rates-refused": What("offers", "refused: this key may not see what things cost"),
    "filters-ignored": What("offers", "filters on `fields`, or all of them, are dropped without a word"),
    "stale-log": What("logs", "at the address of the new log is the one before, until the new one is there"),
    # lists and ends that are not to be believed
    "list-lag": What("list", "lists show what was there `seconds` ago"),
    "unseen": What("create", "works, but for `seconds` neither get nor list shows it, or not the one that `text` says"),
    "delete-500-works": What("delete", "answers 500 and works"),
    "delete-204-stays": What("delete", "answers as if it had worked"),
    "delete-locked": What("delete", "refused while the resource is locked"),
    "delete-lag": What("delete", "works, but for `seconds` the resource is still shown"),
    # hosts that are not to be believed: decided when the resource is created
    "early-running": What("create", "the container exists only after `seconds`; the status says nothing of that"),
    "never-boots": What("create", "no container, ever"),
    "crash-loop": What("create", "its command ends after `seconds`; is started again, where clouds do that, and so on"),
    "preempt": What("create", "taken away `seconds` after it was created"),
    "outbid": What("create", "`seconds` after it was created someone pays more: it is stopped, and its disk costs"),
    "host-stops": What("create", "`seconds` after it was created it is meant to be stopped, though nobody said so"),
    "host-state": What("create", "`seconds` after it was created its status is `text` for ever, and nothing runs"),
    "clipped-disk": What("create", "it gets half of the disk that it asked for"),
    "no-container-key": What("create", "what runs gets no key to end itself with"),
    "container-key-dies": What("create", "the key of what runs is good for nothing once the resource is gone"),
    "auth-late": What("create", "for `seconds` after its boot its SSH server lets nobody in"),
    "plants-no-host-key": What("create", "the host key of its SSH server is not the one of the user data"),
    "broken-gpu": What("create", "it is up and CUDA does not initialise: error `status` (802)"),
    "old-driver": What("create", "it has the driver `text` (570.148.08)"),
    "docker-broken": What("create", "Docker finds no GPUs until NVIDIA's runtime is configured and it is restarted"),
    "no-image": What("create", "its Docker can pull no image, or none with `text` in its name"),
    "no-bearer": What("proxy", "a token in an Authorization header does not pass the edge"),
    "system-line": What("create", "the host logs `text` instead of starting the container"),
}

INSTEAD = ("rate-limit", "server-error", "reset", "timeout", "html", "edge-block", "delete-500-works")
SPOILED = ("truncated", "unknown-enum", "missing-fields")
AFTERWARDS = ("delete-500-works", "lost-publish")
"""What always takes effect."""
EVERYWHERE = (
    *(*INSTEAD, *SPOILED, "no-capacity", "no-funds", "list-lag", "delete-204-stays", "delete-lag"),
    *("never-boots", "crash-loop", "system-line"),
)
"""What every cloud can do."""


@dataclass(frozen=True)
class Rule:
    """One rule; see WHATS for what uses which field. Seconds are the cloud's, but for `timeout`."""

    do: str
    call: str = ""
    times: int | None = None
    after: int = 0
    gpu: str = ""
    """An id or a part of it: only creates of such a GPU."""
    seconds: float = 0.0
    status: int | None = None
    when: str = "before"
    retry_after: int | None = None
    text: str = ""
    fields: tuple[str, ...] = ()

    def concerns(self, call: str, gpu: str) -> bool:
        wanted = self.call or WHATS[self.do].call
        return (wanted == call or (wanted == "any" and call not in ("", "proxy"))) and self.gpu in gpu


_WORDS: Mapping[str, Sequence[str]] = {"do": tuple(WHATS), "call": ("any", *CALLS), "when": ("before", "after")}
_KINDS: Mapping[str, UnionType | type] = {
    **dict.fromkeys(("times", "after", "status", "retry_after"), int),
    **dict.fromkeys(("gpu", "text"), str),
    "seconds": int | float,
    "fields": list | tuple,
}


def parse(rule: Mapping[str, Any]) -> Rule:
    """The rule that a mapping means; ValueError names what it does not understand."""
    if not isinstance(rule, Mapping):
        raise ValueError(f"{rule!r} is no rule, which looks like {{do: rate-limit, times: 2}}")
    for name, value in {"do": None, **rule}.items():
        _check(name, value)
    when = "after" if rule["do"] in AFTERWARDS else rule.get("when", "before")
    return Rule(**{**rule, "when": when, "fields": tuple(rule.get("fields", ()))})


def _check(name: str, value: object) -> None:
    if name in _WORDS and value not in _WORDS[name]:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(_WORDS[name])}")
    if name not in _WORDS and name not in _KINDS:
        raise ValueError(f"a rule has no {name}; it has {', '.join(sorted({*_WORDS, *_KINDS}))}")
    if name in _KINDS and not isinstance(value, _KINDS[name]):
        raise ValueError(f"{name}: {value!r} is not what is expected there")


def read(path: Path) -> list[Mapping[str, Any]]:
    """The rules of a file (YAML, of which JSON is a part). Raises OSError and ValueError."""
    try:
        rules = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if not isinstance(rules, list):
        raise ValueError("expected a list of rules")
    for rule in rules:
        parse(rule)
    return rules


class Misbehaviour:
    """The rules of one cloud, and how often each was met. Not locked: the cloud's lock is."""

    def __init__(self, rules: Iterable[Mapping[str, Any]] = (), words: Collection[str] = tuple(WHATS)) -> None:
        """`words` are what this cloud can do; a rule that says something else raises ValueError."""
        self._words = words
        self._rules: list[Rule] = []
        self._met: list[int] = []
        self.add(*rules)

    def add(self, *rules: Mapping[str, Any]) -> None:
        """From now on these as well."""
        parsed = [parse(rule) for rule in rules]
        if strange := {rule.do for rule in parsed} - set(self._words):
            raise ValueError(f"do: this cloud has no {', '.join(sorted(strange))}")
        self._rules += parsed
        self._met += [0] * len(parsed)

    def clear(self) -> None:
        """No rules any more."""
        self._rules.clear()
        self._met.clear()

    def take(self, *whats: str, call: str, gpu: str = "") -> Rule | None:
        """The rule that applies to this call, which counts as one of its `times`."""
        for i, rule in enumerate(self._rules):
            if rule.do in whats and rule.concerns(call, gpu):
                self._met[i] += 1
                met = self._met[i] - rule.after
                if met > 0 and (rule.times is None or met <= rule.times):
                    return rule
        return None
