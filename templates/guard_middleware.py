"""Closes every route of the engine to callers without the key; vLLM's own `--api-key` leaves many open.

vLLM loads it with `--middleware guard_middleware.GuardMiddleware` and this folder on PYTHONPATH. Standard library
only, Python 3.9 or newer.

The key is the environment variable VLLM_API_KEY, sent by callers as `Authorization: Bearer KEY`. There are no
exceptions: health, documentation and preflight (OPTIONS) requests need it too. With the key, `GET /_gpu/supervisor`
answers the supervisor's own status, the file named by GPU_SUPERVISOR_STATUS.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

STATUS_PATH = "/_gpu/supervisor"
POLICY_VIOLATION = 1008
"""The WebSocket close code; before the handshake is accepted servers turn it into HTTP 403."""


class GuardMiddleware:
    """Passes on what carries the key and refuses the rest; ASGI, so it sees HTTP and WebSocket alike.

    Raises RuntimeError when there is no key in the environment: an open engine must not start.
    """

    def __init__(self, app: App) -> None:
        key = os.environ.get("VLLM_API_KEY", "")
        if not key:
            raise RuntimeError("VLLM_API_KEY is not set: refusing to serve without a key")
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection. Anything that is neither HTTP nor WebSocket is the server's own business (lifespan)."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif not carries_key(scope.get("headers", ()), self.key):
            await refuse(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == STATUS_PATH:
            await answer_status(send)
        else:
            await self.app(scope, receive, send)


def carries_key(headers: Iterable[Header], key: bytes) -> bool:
    """Whether there is exactly one Authorization header and it is a Bearer with this key.

    Two are refused whatever they say: which one counts must not depend on who reads them.
    """
    given = [value for name, value in headers if name.lower() == b"authorization"]
    if len(given) != 1:
        return False
    scheme, _, token = given[0].strip().partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), key)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """401 in the shape of OpenAI's errors, or a WebSocket closed before it is accepted."""
    if scope["type"] == "websocket":
        await receive()  # the handshake has to be taken before it can be refused
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "unauthorized"})
        return
    error = {
        "message": "Missing or wrong API key: send it as 'Authorization: Bearer KEY'.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    await answer(send, 401, {"error": error}, [(b"www-authenticate", b"Bearer")])


async def answer_status(send: Send) -> None:
    """The supervisor's status with `beat_age_s`, the seconds since it was written; 404 when there is none."""
    path = os.environ.get("GPU_SUPERVISOR_STATUS", "")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (the age must be of the very file that is read)
            beat_age_s = time.time() - os.fstat(file.fileno()).st_mtime
            document = {**json.load(file), "beat_age_s": round(beat_age_s, 3)}
    except (OSError, ValueError, TypeError):
        error = {"message": "No supervisor status here.", "type": "not_found_error", "param": None, "code": "not_found"}
        await answer(send, 404, {"error": error}, [])
        return
    await answer(send, 200, document, [])


async def answer(send: Send, status: int, document: object, headers: list[Header]) -> None:
    """One JSON answer, never cached."""
    body = json.dumps(document).encode()
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fixed + headers})
    await send({"type": "http.response.body", "body": body})
