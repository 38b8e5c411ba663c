"""Nobody gets in without the key, and nobody listens on the way."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from gpu_cli.check.finding import Broken, Skipped
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
REFUSALS = frozenset({401, 403, 404, 405, 501})
"""The last three say that there is nothing of that kind for anybody, or do not let on that there is."""
TRIES = 2
"""Of what is hung up on: a connection that was kept open may end just then, for no reason of the request's."""
AT_A_TIME = 8
MOST_NAMED = 3


@dataclass(frozen=True)
class Attempt:
    """One request without the right key."""

    method: str
    path: str
    headers: Mapping[str, str]

    def __str__(self) -> str:
        kind = "WebSocket" if "Upgrade" in self.headers else self.method
        return f"{kind} {self.path}{' with a wrong key' if 'Authorization' in self.headers else ''}"


def refuses_without_the_key(target: Target) -> str:
    """Every route, by every method, without a key and with a wrong one; also paths that are written oddly.

    What could change something is tried only where all that is harmless was refused.
    """
    with http_client(target.base_url, timeout_s=SHORT_TIMEOUT_S) as http:
        paths = sorted({*UNLISTED, *_listed(target, http)})
        harmless, changing = list(_harmless(target, paths)), list(_changing(paths))
        answered = _answered(target, http, harmless) or _answered(target, http, changing)
    if answered:
        others = f" and {len(answered) - MOST_NAMED} more" if len(answered) > MOST_NAMED else ""
        raise Broken(f"open without the key: {', '.join(answered[:MOST_NAMED])}{others}")
    return f"{len(paths)} routes, {len(harmless) + len(changing)} requests"


def is_private_on_the_way(target: Target) -> str:
    """TLS, or loopback: the key and all prompts are to be seen by nobody else."""
    host = urlsplit(target.base_url).hostname or ""
    if is_encrypted(target.base_url):
        return "TLS"
    if _is_loopback(host):
        return "loopback"
    if target.promises.plain_http:
        raise Skipped("plain HTTP, as it was asked for")
    raise Broken(f"plain HTTP to {host}: the key and all prompts can be read on the way")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        yield from (Attempt(method, path, {}) for method in methods)
        yield Attempt("GET", path, WRONG_KEY)
    yield from (Attempt("GET", path, WEBSOCKET) for path in WEBSOCKET_PATHS)


def _changing(paths: Sequence[str]) -> Iterator[Attempt]:
    for path in paths:
        yield from (Attempt(method, path, {}) for method in CHANGING)
        yield Attempt("POST", path, WRONG_KEY)


def _answered(target: Target, http: httpx.Client, attempts: Sequence[Attempt]) -> Sequence[str]:
    """Those that were not refused, and what came."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = pool.map(lambda attempt: _answer(target, http, attempt), attempts)
        return [f"{attempt} ({answer})" for attempt, answer in zip(attempts, answers, strict=True) if answer]


def _answer(target: Target, http: httpx.Client, attempt: Attempt) -> str:
    """What came, in short; empty for a refusal, and for a server that hung up."""
    # An open route would answer this with one token.
    asked = {**target.request("Hi", max_tokens=1), "prompt": "Hi"} if attempt.method in CHANGING else None
    url = target.root_url + attempt.path
    for _ in range(TRIES):
        try:
            status = http.request(attempt.method, url, headers=attempt.headers, json=asked).status_code
        except httpx.RemoteProtocolError:
            continue
        except httpx.TimeoutException:
            return "neither answered nor refused"
        return "" if status in REFUSALS else str(status)
    return ""
