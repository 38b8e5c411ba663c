"""Whether the edge takes a proxy token, by what it answers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gpu_providers.base import Secret
from gpu_providers.modal_cloud.probe import Probe

PROBE = Probe(answer_s=5, pauses_s=(0.01, 0.01))


@contextmanager
def edge(statuses: Sequence[int]) -> Iterator[str]:
    """The URL of one that answers with these, one after the other."""
    coming = iter(statuses)

    class Edge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(coming))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Edge) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("statuses", "refused"),
    [
        pytest.param([401, 403, 401], True, id="every time"),
        pytest.param([401, 200], False, id="until it heard of the token"),
        pytest.param([404, 401, 401], True, id="once it knew of the app"),
        pytest.param([404, 303], False, id="it takes it, once it knew of the app"),
        pytest.param([404, 404, 404], False, id="it knows of no app, which says nothing of the token"),
        pytest.param([503], False, id="nothing is ready yet"),
    ],
)
def test_a_token_is_refused_by_an_edge_that_knows_of_the_app_and_of_the_token(
    statuses: Sequence[int], *, refused: bool
) -> None:
    with edge(statuses) as url:
        assert PROBE.is_refused(url, Secret("wk-a.ws-b")) is refused
