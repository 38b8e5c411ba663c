"""Nobody gets in without the key, and nobody listens on the way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from gpu_cli.check.finding import Broken, Skipped
from gpu_cli.check.parallel import begun
from gpu_cli.check.target import SHORT_TIMEOUT_S, Target, http_client, is_encrypted

HARMLESS = ("GET", "HEAD")
"""They change nothing (RFC 9110, 9.2.1)."""
PREFLIGHT = "OPTIONS"
"""Harmless too: a browser's question whether it may ask. Others answer it to anybody; ours does not."""
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
UNLISTED = (
    "/health", "/ping", "/load", "/version", "/metrics", "/docs", "/redoc", "/openapi.json", "/invocations",
    "/tokenize", "/detokenize", "/pooling", "/score", "/rerank", "/v1/models", "/v1/completions",
    "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/_gpu/supervisor", "//v1/models", "/v1/models/",
    "/%76%31/models", "/nowhere",
)  # fmt: skip
"""Asked besides what the server's own list has: it does not list all, and paths may be written in other ways."""
WEBSOCKET_PATHS = ("/v1/realtime", "/nowhere")
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "c29tZSByYW5kb20gYnl0ZQ==",
    "Sec-WebSocket-Version": "13",
}
WRONG_KEY = {"Authorization": "Bearer sk-wrong"}
ANSWERS = ("/chat/completions", "/completions")
"""All that is asked of an API that is not vLLM's: others list their models to anybody, and count their refusals."""
REFUSALS = frozenset({401, 403, 404, 405, 501})
"""The last three say that there is nothing of that kind for anybody, or do not let on that there is."""
OF_AN_EDGE = frozenset({429, 502, 503, 504, *range(520, 528)})
"""What stands before a server says these for itself (the last are Cloudflare's): nothing has come through."""
TRIES = 2
"""Of what is hung up on: a connection that was kept open may end just then, for no reason of the request's."""
AT_A_TIME = 8
MOST_NAMED = 3


@dataclass(frozen=True)
class Attempt:
    """One request without the right key."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """They may hold what is nearly the key."""
    what: str = ""
    """What is special about it."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}{self.what}"


def refuses_without_the_key(target: Target) -> str:
    """Every route, by every method, without a key and with a wrong one; also paths that are written oddly.

    What could change something is tried only where all that is harmless was refused.
    """
    with http_client(target.base_url, timeout_s=SHORT_TIMEOUT_S) as http:
        harmless, changing = _attempts(target, http)
        answered = _answered(target, http, harmless) or _answered(target, http, changing)
    if answered:
        others = f" and {len(answered) - MOST_NAMED} more" if len(answered) > MOST_NAMED else ""
        raise Broken(f"open without the key: {', '.join(answered[:MOST_NAMED])}{others}")
    attempts = [*harmless, *changing]
    return f"{len({attempt.path for attempt in attempts})} routes, {len(attempts)} requests"


def is_private_on_the_way(target: Target) -> str:
    """TLS, or loopback: the key and all prompts are to be seen by nobody else."""
    if is_private(target.base_url):
        return "TLS" if is_encrypted(target.base_url) else "loopback"
    if target.promises.plain_http:
        raise Skipped("plain HTTP, as it was asked for")
    raise Broken(f"plain HTTP to {urlsplit(target.base_url).hostname}: the key and all prompts can be read on the way")


def is_private(base_url: str) -> bool:
    """Whether nobody can listen on the way there."""
    return is_encrypted(base_url) or _is_loopback(urlsplit(base_url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _attempts(target: Target, http: httpx.Client) -> tuple[Sequence[Attempt], Sequence[Attempt]]:
    """Those that can change nothing, and the others."""
    if not (target.promises.recipe or target.is_vllm):
        prefix = target.base_url.removeprefix(target.root_url)
        return [], [one for path in ANSWERS for one in _with_keys("POST", prefix + path, target)]
    paths = sorted({*UNLISTED, *_listed(target, http)})
    return [*_harmless(target, paths), *_with_keys("GET", "/v1/models", target)], list(_changing(paths))


def _with_keys(method: str, path: str, target: Target) -> Iterator[Attempt]:
    """With none, with a wrong one, and with what is nearly the right one."""
    key = target.key.reveal()
    yield Attempt(method, path)
    yield Attempt(method, path, WRONG_KEY, " with a wrong key")
    yield Attempt(method, path, {"Authorization": "Bearer"}, " with an empty key")
    nearly = {"the key cut short": key[:-1], "more than the key": f"{key}x", "the key in other case": key.swapcase()}
    for what, text in nearly.items():
        if text not in ("", key):
            yield Attempt(method, path, {"Authorization": f"Bearer {text}"}, f" with {what}")


def _listed(target: Target, http: httpx.Client) -> Sequence[str]:
    """The server's own list of its routes; empty where it has none."""
    response = http.get(f"{target.root_url}/openapi.json", headers=target.key_header)
    try:
        paths = response.json()["paths"]
    except (KeyError, TypeError, ValueError):
        return ()
    return [path.replace("{", "").replace("}", "") for path in paths if path.startswith("/")]


def _harmless(target: Target, paths: Sequence[str]) -> Iterator[Attempt]:
    methods = (*HARMLESS, PREFLIGHT) if target.promises.recipe else HARMLESS
    for path in paths:
        yield from (Attempt(method, path) for method in methods)
        yield Attempt("GET", path, WRONG_KEY, " with a wrong key")
    yield from (Attempt("GET", path, WEBSOCKET, " as a WebSocket") for path in WEBSOCKET_PATHS)


def _changing(paths: Sequence[str]) -> Iterator[Attempt]:
    for path in paths:
        yield from (Attempt(method, path) for method in CHANGING)
        yield Attempt("POST", path, WRONG_KEY, " with a wrong key")


def _answered(target: Target, http: httpx.Client, attempts: Sequence[Attempt]) -> Sequence[str]:
    """Those that were not refused, and what came."""
    lanes = begun([partial(_lane, target, http, attempts[start::AT_A_TIME]) for start in range(AT_A_TIME)])
    return sorted(line for lane in lanes for line in lane.result())


def _lane(target: Target, http: httpx.Client, attempts: Sequence[Attempt]) -> Sequence[str]:
    return [f"{attempt} ({answer})" for attempt in attempts if (answer := _answer(target, http, attempt))]


def _answer(target: Target, http: httpx.Client, attempt: Attempt) -> str:
    """What came, in short; empty for a refusal, and for a server that hung up."""
    # An open route would answer this with one token.
    asked = {**target.request("Hi", max_tokens=1), "prompt": "Hi"} if attempt.method in CHANGING else None
    url, answer = target.root_url + attempt.path, ""
    for _ in range(TRIES):
        try:
            status = http.request(attempt.method, url, headers=attempt.headers, json=asked).status_code
        except httpx.TimeoutException:
            answer = "neither answered nor refused"
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            answer = ""
        else:
            return "" if is_refusal(target, status) else str(status)
    return answer


def is_refusal(target: Target, status: int) -> bool:
    """Where nobody promises more, whatever is no answer: of ours, an open route may well find fault with a request."""
    return status in REFUSALS | OF_AN_EDGE or (status >= 400 and not (target.promises.recipe or target.is_vllm))
