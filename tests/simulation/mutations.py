"""Ways to spoil a cloud's answer: each is a value that can be told, repeated and pasted into a test.

A seeded generator makes them, not hypothesis: a case is then one whole number, costs microseconds, and shrinks by
leaving out one edit after the other.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """What a cloud answers."""

    status: int
    headers: Mapping[str, str] = field(hash=False)
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """None where it holds none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


Path = tuple[str | int, ...]
"""To a place in a document: keys and positions."""


@dataclass(frozen=True)
class Put:
    """Another value at that place."""

    path: Path
    value: Any

    def apply(self, answer: Answer) -> Answer:
        def put(parent: Any, last: str | int) -> None:
            parent[last] = self.value

        return _changed(answer, self.path, put, whole=lambda _: self.value)


@dataclass(frozen=True)
class Drop:
    """Nothing at that place."""

    path: Path

    def apply(self, answer: Answer) -> Answer:
        def drop(parent: Any, last: str | int) -> None:
            del parent[last]

        return _changed(answer, self.path, drop, whole=lambda _: None)


@dataclass(frozen=True)
class Wrap:
    """What is there, one level deeper: in a list, or in an object under `name`."""

    path: Path
    name: str = ""

    def apply(self, answer: Answer) -> Answer:
        def wrap(parent: Any, last: str | int) -> None:
            parent[last] = self._wrapped(parent[last])

        return _changed(answer, self.path, wrap, whole=self._wrapped)

    def _wrapped(self, value: Any) -> Any:
        return {self.name: value} if self.name else [value]


@dataclass(frozen=True)
class Twice:
    """The first key of this name stands there twice, the last time with another value."""

    key: str
    value: Any

    def apply(self, answer: Answer) -> Answer:
        again = f'"{self.key}": {json.dumps(self.value)}, '.encode()
        before, found, after = answer.body.rpartition(f'"{self.key}":'.encode())
        return replace(answer, body=before + again + found + after) if found else answer


@dataclass(frozen=True)
class Body:
    """These bytes instead."""

    body: bytes

    def apply(self, answer: Answer) -> Answer:
        return replace(answer, body=self.body)


@dataclass(frozen=True)
class Deep:
    """So many times this and nothing else."""

    opening: str
    times: int = 100_000

    def apply(self, answer: Answer) -> Answer:
        return replace(answer, body=self.opening.encode() * self.times)


@dataclass(frozen=True)
class Cut:
    """So much of it and no more, from 0 to 1."""

    share: float

    def apply(self, answer: Answer) -> Answer:
        return replace(answer, body=answer.body[: int(len(answer.body) * self.share)])


@dataclass(frozen=True)
class Encoded:
    """The same text in another encoding."""

    encoding: str

    def apply(self, answer: Answer) -> Answer:
        text = answer.body.decode(errors="replace")
        return replace(answer, body=text.encode(self.encoding, errors="replace"))


@dataclass(frozen=True)
class Status:
    """Another status, whatever the body says."""

    status: int

    def apply(self, answer: Answer) -> Answer:
        return replace(answer, status=self.status)


@dataclass(frozen=True)
class Header:
    """A header more, or instead."""

    name: str
    value: str

    def apply(self, answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, self.name: self.value})


Edit = Put | Drop | Wrap | Twice | Body | Deep | Cut | Encoded | Status | Header

VALUES: Sequence[Any] = (
    None, True, False, 0, 1, -1, -0.5, 0.001, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 2**31, 2**63,
    10**11, 10**400, "", " ", "x", "0", "-1", "1e999", "NaN", "null", "true", "unknown-word", "\x00", "\x1b[31mred",
    "two\nlines", "\ud800", "ünïcödé 日本", "x" * 5000, "2026-13-45T99:99:99Z", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59", "1970-01-01", "../../etc", "http://[::1", [], {}, [None], [[]], [{}], {"": None},
    {"id": None}, [1, "two", {}],
)  # fmt: skip
"""Nothing of what a field may hold that a client counts on."""
STAYS = 0.15
"""How often one goes no deeper into a document."""
STATUSES = (200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 418, 422, 429,
            451, 499, 500, 501, 502, 503, 504, 520, 522, 530, 599)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"true", b"0", b'""', b"[]", b"{}", b"[[]]", b"NaN", b"{", b"\xff\xfe\x00", b"\x00" * 64,
    b"<!DOCTYPE html><html><body>Just a moment...</body></html>", b"Bad Gateway", b"9" * 5000, b'{"data": {}}',
    b'{"error": null}', b'{"success": true}', b'{"success": false}',
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp037", "utf-7")
HEADERS = (
    *(("retry-after", value) for value in ("0", "-1", "1e9", "999999", "99999999999999999999", "NaN", "soon", "",
                                           "Wed, 21 Oct 2099 07:28:00 GMT", "٣")),
    *(("content-type", value) for value in ("", "text/html", "text/event-stream", "application/json; charset=utf-16",
                                            "application/json; charset=nonsense", "image/png", ";;;")),
    *(("content-encoding", value) for value in ("gzip", "deflate", "br", "identity", "nonsense")),
    ("x-ratelimit-reset", "1e400"), ("x-ratelimit-reset", "99999999999999"), ("location", "http://elsewhere/"),
    ("date", "not a date"), ("last-modified", "Thu, 01 Jan 1970 00:00:00"), ("set-cookie", "a=b"),
)  # fmt: skip


def some_edits(source: random.Random, answer: Answer, others: Sequence[Answer]) -> tuple[Edit, ...]:
    """One to three; `others` are answers that the cloud has given to something else."""
    edits: list[Edit] = []
    for _ in range(source.choices((1, 2, 3), (6, 3, 1))[0]):
        edit = source.choices(_KINDS, _WEIGHTS)[0](source, answer, others)
        answer = edit.apply(answer)
        edits.append(edit)
    return tuple(edits)


def spoiled(answer: Answer, edits: Sequence[Edit]) -> Answer:
    """With all of them, one after the other."""
    for edit in edits:
        answer = edit.apply(answer)
    return answer


def _changed(
    answer: Answer, path: Path, change: Callable[[Any, str | int], None], whole: Callable[[Any], Any]
) -> Answer:
    """Unchanged where there is no such place."""
    document = answer.json()
    if not path:
        return replace(answer, body=json.dumps(whole(document)).encode())
    try:
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]]
        change(parent, path[-1])
    except (KeyError, IndexError, TypeError):
        return answer
    return replace(answer, body=json.dumps(document).encode())


def _place(source: random.Random, answer: Answer) -> Path:
    """Anywhere: places high up are likelier than each of the many that are deep down."""
    return _below(source, answer.json())


def _below(source: random.Random, document: Any) -> Path:
    if not isinstance(document, dict | list) or not document or source.random() < STAYS:
        return ()
    step = source.choice([*document] if isinstance(document, dict) else range(len(document)))
    return (step, *_below(source, document[step]))


def _put(source: random.Random, answer: Answer, _: Sequence[Answer]) -> Edit:
    return Put(_place(source, answer), source.choice(VALUES))


def _drop(source: random.Random, answer: Answer, _: Sequence[Answer]) -> Edit:
    return Drop(_place(source, answer))


def _wrap(source: random.Random, answer: Answer, _: Sequence[Answer]) -> Edit:
    return Wrap(_place(source, answer), source.choice(("", "", "data", "x")))


def _twice(source: random.Random, answer: Answer, _: Sequence[Answer]) -> Edit:
    keys = [step for step in _place(source, answer) if isinstance(step, str)]
    return Twice(source.choice(keys), source.choice(VALUES)) if keys else Cut(0.5)


def _body(source: random.Random, _: Answer, others: Sequence[Answer]) -> Edit:
    if source.random() < 0.05:
        return Deep(source.choice(("[", '{"a":', '{"data":[')))
    return Body(source.choice(BODIES) if source.random() < 0.5 else source.choice(others).body)


def _cut(source: random.Random, _: Answer, __: Sequence[Answer]) -> Edit:
    return Cut(round(source.random(), 3))


def _encoded(source: random.Random, _: Answer, __: Sequence[Answer]) -> Edit:
    return Encoded(source.choice(ENCODINGS))


def _status(source: random.Random, _: Answer, __: Sequence[Answer]) -> Edit:
    return Status(source.choice(STATUSES))


def _header(source: random.Random, _: Answer, __: Sequence[Answer]) -> Edit:
    return Header(*source.choice(HEADERS))


_KINDS = (_put, _drop, _wrap, _twice, _body, _cut, _encoded, _status, _header)
_WEIGHTS = (36, 12, 8, 5, 8, 6, 5, 14, 6)
