"""HTTP requests as inputs of web functions, which are ASGI messages to Modal's runtime.

Sources: the installed SDK (_serialization.py for the messages, _runtime/asgi.py for what it does with them): the scope
is the function's one argument; the body comes as data of the call; the answer goes out as data of the call.
"""

import pickle
from collections.abc import Iterable, Iterator

from aiohttp import web
from modal_proto import api_pb2

from ..forwarding import OF_ONE_CONNECTION
from .calls import Call

Headers = list[tuple[str, str]]
PART_BYTES = 2**20
GOODBYE = api_pb2.Asgi(http_disconnect=api_pb2.Asgi.HttpDisconnect()).SerializeToString()
"""Without it the runtime goes on reading what its web server says, also of an input that has been cancelled."""


def call_of(request: web.BaseRequest, body: bytes) -> Call:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": request.path,
        "query_string": request.url.raw_query_string.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in end_to_end(request.headers.items())],
        "client": ("127.0.0.1", 0),
    }
    given = api_pb2.FunctionInput(args=pickle.dumps(((scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE)
    return Call(given, list(_body(body)), GOODBYE)


def _body(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body) or 1, PART_BYTES):
        more = start + PART_BYTES < len(body)
        part = api_pb2.Asgi.HttpRequest(body=body[start : start + PART_BYTES], more_body=more)
        yield api_pb2.Asgi(http_request=part).SerializeToString()


def end_to_end(headers: Iterable[tuple[str, str]]) -> Headers:
    """Without those that belong to one connection; whoever asks still learns how long the body is."""
    return [(name, value) for name, value in headers if name.lower() not in OF_ONE_CONNECTION - {"content-length"}]


def start_of(message: bytes) -> tuple[int, Headers]:
    """The status and the headers of the answer, from its first message."""
    start = api_pb2.Asgi.FromString(message).http_response_start
    pairs = zip(start.headers[::2], start.headers[1::2], strict=True)
    return start.status, end_to_end((name.decode(), value.decode()) for name, value in pairs)


def part_of(message: bytes) -> bytes:
    """Of the body, from any later message."""
    return api_pb2.Asgi.FromString(message).http_response_body.body
