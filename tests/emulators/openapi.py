"""Checks an emulated cloud against the OpenAPI file that the real one publishes.

The files are in the folder named by GPU_SPECS, or beside the checkout in shared/specs; without them nothing is checked.
What a cloud is documented to have and its file lacks is a list of `Addition`s, each with its source: anything else that
differs is a violation, and the emulator's end raises it.
"""

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .server import Request, Response, Route, Router

_BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "specs"
FOLDER = Path(os.environ.get("GPU_SPECS") or _BESIDE_THE_CHECKOUT)
"""Read once: tests clear the environment."""


WEB_PAGE = "text/html"
"""Answers of what stands in front of an API; the file is not about them."""
SOME_TEXT = b":"


@dataclass(frozen=True)
class Addition:
    """What belongs into the file at `place`; a list's items come after those that are there."""

    place: tuple[str | int, ...]
    value: Any
    source: str
    """Who documents it."""


@dataclass(frozen=True, eq=False)
class Specification:
    """One cloud's file (JSON or YAML), by its name in the folder, and what it lacks. `server` is the URL that its paths
    follow.
    """

    file: str
    server: str
    additions: Sequence[Addition] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """The paths of the file that are looked at, each with how the cloud really spells it; empty: all, as they are."""


class Conformance:
    """The check of one emulator's requests and answers. Not locked: the cloud's lock is."""

    def __init__(self, specification: Specification | None = None) -> None:
        """Without a specification, or where its file is absent, nothing is ever violated."""
        self._specification = specification
        self.violations: list[str] = []

    @property
    def skipped(self) -> str:
        """Why nothing is checked; empty when it is."""
        if self._specification is None:
            return "this cloud has no OpenAPI file"
        path = FOLDER / self._specification.file
        return "" if path.is_file() else f"{path} is absent"

    def check(self, request: Request, response: Response) -> None:
        """Keeps what the file does not allow. A request that was refused may break it: that is why it was."""
        if self._specification is None or self.skipped:
            return
        found = _checker(self._specification).violations(request, response)
        self.violations += [f"{request.method} {request.path} -> {response.status}: {text}" for text in found]

    def complain(self) -> None:
        """Raises AssertionError when there is something to complain of."""
        assert not self.violations, "\n".join(["The cloud's own OpenAPI file does not allow:", *self.violations])


class _Checker:
    """A parsed file. One serves all emulators of a process: it takes a while to make."""

    def __init__(self, document: Mapping[str, Any], server: str) -> None:
        from openapi_core import Config, OpenAPI

        config = Config(
            spec_validator_cls=None,  # it takes seconds, and the file is what the cloud publishes
            extra_media_type_deserializers={"application/problem+json": json.loads, "text/event-stream": bytes.decode},
        )
        self._server = server
        self._openapi = OpenAPI.from_dict(dict(document), config=config)
        self._queries = {(method, path): names for method, path, names in _query_names(document)}
        self._router = Router(Route(method, path, _unused) for method, path in self._queries)
        self._known: dict[int, list[str]] = {}

    def violations(self, request: Request, response: Response) -> list[str]:
        """Found once for all exchanges that are the same: a long list takes a while."""
        exchange = hash(_exchange(request, response))  # the exchanges themselves would fill the memory
        if exchange not in self._known:
            self._known[exchange] = self._found(request, response)
        return self._known[exchange]

    def _found(self, request: Request, response: Response) -> list[str]:
        found = self._router.find(request)
        if not isinstance(found, tuple):
            return []
        sent, answered = _SentRequest(request, self._server), _Answer(response)
        errors: list[BaseException] = []
        unknown: set[str] = set()
        if response.status < 400:
            errors += self._openapi.iter_request_errors(sent)
            unknown = set(request.query) - self._queries[found[0].method, found[0].path]
        if not response.content_type.startswith(WEB_PAGE):
            errors += self._openapi.iter_response_errors(sent, answered)
        return [_text(error) for error in errors] + [f"no parameter {name}: it is ignored" for name in sorted(unknown)]


@cache
def _checker(specification: Specification) -> _Checker:
    document = _completed(_read(FOLDER / specification.file), specification.additions)
    if specification.paths:
        document["paths"] = {real: document["paths"][path] for path, real in specification.paths.items()}
    return _Checker(document, specification.server)


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)  # in C: ten times faster


def _completed(document: Mapping[str, Any], additions: Sequence[Addition]) -> dict[str, Any]:
    completed: dict[str, Any] = deepcopy(dict(document))
    for addition in additions:
        *way, last = addition.place
        parent: Any = completed
        for key in way:
            parent = parent[key]
        more = isinstance(addition.value, list)
        parent[last] = [*parent.get(last, ()), *addition.value] if more else addition.value
    return completed


def _query_names(document: Mapping[str, Any]) -> list[tuple[str, str, set[str]]]:
    """Each operation's method and path, with the names of the query parameters that it has."""
    shared = document.get("components", {}).get("parameters", {})

    def names(operation: Mapping[str, Any]) -> set[str]:
        parameters = [shared.get(p.get("$ref", "").rpartition("/")[2], p) for p in operation.get("parameters", ())]
        return {parameter["name"] for parameter in parameters if parameter["in"] == "query"}

    operations = [(method, path, item) for path, items in document["paths"].items() for method, item in items.items()]
    return [(method.upper(), path, names(item)) for method, path, item in operations if isinstance(item, dict)]


def _exchange(request: Request, response: Response) -> Hashable:
    """All that the check looks at; what an answer's headers say (the quota) changes all the time."""
    headers = {name: value for name, value in request.headers.items() if name not in ("host", "authorization")}
    sent = (request.method, request.path, *map(frozenset, (request.query.items(), headers.items())), request.body)
    answered = response.body if isinstance(response.body, bytes) else None
    return *sent, response.status, response.content_type, frozenset(response.headers), answered


def _unused(_: Request) -> Response:
    raise NotImplementedError


def _text(error: BaseException) -> str:
    """What openapi-core found; the details are in the error behind the error."""
    cause = error.__cause__ or error
    details = getattr(cause, "schema_errors", ())
    return "; ".join(f"{detail.json_path}: {detail.message}" for detail in details) or f"{error!r} {cause}"


class _SentRequest:
    """A request in the words of openapi-core."""

    def __init__(self, request: Request, server: str) -> None:
        from openapi_core.datatypes import RequestParameters
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        self.host_url = server
        self.path = request.path
        self.method = request.method.lower()
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(request.query), header=Headers(dict(request.headers)), cookie=ImmutableMultiDict()
        )
        self.body = request.body or None
        self.content_type = request.headers.get("content-type", "")


class _Answer:
    """A response in the words of openapi-core. The text of a stream it is not shown."""

    def __init__(self, response: Response) -> None:
        from werkzeug.datastructures import Headers

        self.status_code = response.status
        self.data = response.body if isinstance(response.body, bytes) else SOME_TEXT
        self.content_type = response.content_type
        self.headers = Headers(dict(response.headers))
