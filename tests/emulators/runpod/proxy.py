"""The HTTP proxy in front of pods, with the Cloudflare before it: {url}/proxy/{pod}/{port}/...

    no such pod, or its port is not declared as http    404
    nothing listens behind it (yet)                     502 with a web page
    100 s without a byte of the answer                  524 with a web page; a reset where the answer has begun

(RunPod's documentation: "Expose ports", "502 errors".) It asks for no key.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..clock import Clock
from ..containers import Container
from ..forwarding import bad_gateway, forward, page, real_silence_s
from ..server import Request, Response, Route

SILENCE_S = 100.0


@dataclass(frozen=True)
class Exposed:
    """What a pod shows to the proxy."""

    http_ports: Collection[int]
    container: Container | None
    """None while there is none."""


class Proxy:
    """`find` answers what a pod exposes, None for an unknown pod. It is called without the cloud's lock."""

    def __init__(self, find: Callable[[str], Exposed | None], clock: Clock) -> None:
        self._find = find
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("*", "/proxy/{pod}/{port}", self.handle, call="proxy", locked=False),
            Route("*", "/proxy/{pod}/{port}/{path...}", self.handle, call="proxy", locked=False),
        ]

    def handle(self, request: Request) -> Response:
        exposed = self._find(request.params["pod"])
        if exposed is None or request.params["port"] not in map(str, exposed.http_ports):
            return page(404, "404 Not Found", "There is nothing at this address.")
        container, declared = exposed.container, int(request.params["port"])
        port = container.port if container and container.spec.port == declared else None
        if port is None:
            return bad_gateway()
        path = "/" + "/".join(request.path.split("/")[4:])
        return forward(request, port, path, silence_s=real_silence_s(SILENCE_S, self._clock))
