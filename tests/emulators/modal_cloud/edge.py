"""What stands between the world and the containers: `*.modal.run` for web functions, `*.modal.direct` for Servers.

Each name `<app>-<function>` has a port of loopback of its own, the same one for as long as the emulator lives, since
its URL does not change with the deployment. A web function's request waits for a container, after a while behind a
redirect to its result; a Server's is refused until a container is ready, and makes one start.

Sources: Modal's pages "Web endpoint timeouts", "Proxy Auth Tokens" and "Servers"; words and statuses as people have
quoted them: re-POSTed redirects (HTTP 400, "bad redirect method"), stopped apps (404), functions that ran out of time
and inputs that failed (500, "status Failure: ..."). Not known, and chosen here: that the clock of the redirect stops
with the answer's first byte, the words of a Server's 503 and 429, and of an answer that never began.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiohttp import web
from modal_proto import api_pb2

from ..server import Reset
from . import http_inputs
from .calls import Call
from .containers import ADDRESS, POLL_S, Container
from .functions import Function
from .server import Sees, nobody_sees

RESULT = "__modal_function_call_id"
"""The query parameter of a redirect: the call that is waited for."""
STOPPED = (404, "modal-http: app for invoked web endpoint is stopped")
UNKNOWN_CALL = (404, "modal-http: invalid function call")
BAD_REDIRECT = (400, "modal-http: bad redirect method")
TIMED_OUT = (500, "modal-http: internal error: function execution timed out")
TERMINATED = (500, "modal-http: internal error: function was terminated by signal")
NO_ANSWER = (500, "modal-http: internal error: the function gave no answer")
NOT_READY = (503, "modal-http: no container is ready")
TOO_MANY = (429, "modal-http: too many concurrent requests")
Refusal = tuple[int, str]
Admit = Callable[[Function, dict[str, str]], Refusal | None]
"""Why a request with these headers (their names in lower case) may not pass, or None."""


@dataclass
class Door:
    """One port, and the function that answers there now."""

    url: str
    function: Function
    runner: web.ServerRunner


class Edge:
    """Called in the server's loop. `redirect_after_s` is real time."""

    def __init__(
        self, admit: Admit, redirect_after_s: float, sees: Sees = nobody_sees, *, pretends: bool = False
    ) -> None:
        """With `pretends`, no runtime of Modal's is in the containers: requests go to their ports."""
        self._admit = admit
        self._sees = sees
        self._pretends = pretends
        self._redirect_after_s = redirect_after_s
        self._doors: dict[str, Door] = {}
        self._redirected: dict[str, Call] = {}
        """Calls whose answer is to be fetched, by their ids."""
        self.asked: list[str] = []
        """Every request so far, also those that were refused: `GET /health`."""

    async def url_of(self, name: str, function: Function) -> str:
        """From now on that function answers under this name."""
        if door := self._doors.get(name):
            door.function = function
            return door.url
        server = web.Server(partial(self._seen, name), handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._doors[name] = Door(f"http://127.0.0.1:{runner.addresses[0][1]}", function, runner)
        return self._doors[name].url

    async def close(self) -> None:
        for door in self._doors.values():
            await door.runner.cleanup()

    async def _seen(self, name: str, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        try:
            done = self._sees(f"{request.method} {request.path}", request.transport.get_extra_info("peername")[1])
            response = await self._answer(name, request)
            done()
        except Reset:
            _cut(request)
            raise ConnectionResetError from None
        return response

    async def _answer(self, name: str, request: web.BaseRequest) -> web.StreamResponse:
        function = self._doors[name].function
        self.asked.append(f"{request.method} {request.path_qs}")
        if function.published is None:
            return _words(STOPPED)
        if refusal := self._admit(function, {name.lower(): value for name, value in request.headers.items()}):
            return _words(refusal)
        if self._pretends:
            await _one_is_ready(function)
        if function.published is None:
            return _words(STOPPED)
        if self._pretends or function.is_server:
            return await _proxied(function, request)
        if id_ := request.query.get(RESULT):
            return await self._fetched(function, request, id_)
        return await self._called(function, request)

    async def _called(self, function: Function, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        if function.published is None:
            return _words(STOPPED)
        call = http_inputs.call_of(request, body)
        function.submit(call)
        return await self._result(call, function, request)

    async def _fetched(self, function: Function, request: web.BaseRequest, id_: str) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return _words(BAD_REDIRECT)
        if id_ not in self._redirected:
            return _words(UNKNOWN_CALL)
        return await self._result(self._redirected[id_], function, request)

    async def _result(self, call: Call, function: Function, request: web.BaseRequest) -> web.StreamResponse:
        """Of a call, or where to wait on. Whoever hangs up does not want it any more."""
        try:
            first = await asyncio.wait_for(call.next_message(), self._redirect_after_s)
            self._redirected.pop(call.id, None)
            return await _streamed(call, first, request) if first else _words(_refusal_of(call, function))
        except TimeoutError:
            self._redirected[call.id] = call
            return _redirect(call, request)
        except (asyncio.CancelledError, ConnectionError):
            function.scaler.cancel(call)
            raise


def _words(refusal: Refusal) -> web.Response:
    status, text = refusal
    return web.Response(status=status, text=text)


def _redirect(call: Call, request: web.BaseRequest) -> web.Response:
    where = request.url.update_query({RESULT: call.id})
    return web.Response(status=303, headers={"Location": str(where)})


def _refusal_of(call: Call, function: Function) -> Refusal:
    """Of a call that ended without an answer."""
    result = call.output.result().result
    if function.published is None:
        return STOPPED
    if result.status == api_pb2.GenericResult.GENERIC_STATUS_FAILURE:
        return 500, f"modal-http: internal error: status Failure: {result.exception}"
    others = {
        api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT: TIMED_OUT,
        api_pb2.GenericResult.GENERIC_STATUS_TERMINATED: TERMINATED,
    }
    return others.get(result.status, NO_ANSWER)


async def _streamed(call: Call, first: bytes, request: web.BaseRequest) -> web.StreamResponse:
    """Part by part as it comes; cut off where the function ends before its answer does."""
    status, headers = http_inputs.start_of(first)
    response = await _begun(status, headers, request)
    while message := await call.next_message():
        await response.write(http_inputs.part_of(message))
    if call.output.result().result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS:
        await response.write_eof()
    else:
        _cut(request)
    return response


async def _proxied(function: Function, request: web.BaseRequest) -> web.StreamResponse:
    """By the container of a Server that has least to do."""
    ready = [container for container in function.containers if container.is_ready]
    if not ready:
        function.scaler.wake()
        return _words(NOT_READY)
    container = min(ready, key=lambda one: one.work.load)
    most = container.definition.max_concurrent_inputs
    if most and container.work.load >= most:
        return _words(TOO_MANY)
    container.work.begin_request()
    try:
        return await _forwarded(container, request)
    except aiohttp.ClientConnectorError:
        return _words(NOT_READY)
    except aiohttp.ClientError:
        _cut(request)
        raise
    finally:
        container.work.end_request()


async def _one_is_ready(function: Function) -> None:
    function.scaler.wake()
    while function.published and not any(container.is_ready for container in function.containers):
        await asyncio.sleep(POLL_S)


async def _forwarded(container: Container, request: web.BaseRequest) -> web.StreamResponse:
    headers = http_inputs.end_to_end(request.headers.items())
    target = f"http://{ADDRESS}:{container.port}{request.raw_path}"
    body = await request.content.read()
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session,
        session.request(request.method, target, headers=headers, data=body, allow_redirects=False) as answer,
    ):
        response = await _begun(answer.status, http_inputs.end_to_end(answer.headers.items()), request)
        async for part in answer.content.iter_any():
            await response.write(part)
        await response.write_eof()
        return response


async def _begun(status: int, headers: http_inputs.Headers, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(status=status)
    for name, value in headers:
        response.headers.add(name, value)
    await response.prepare(request)
    return response


def _cut(request: web.BaseRequest) -> None:
    if request.transport:
        request.transport.abort()
