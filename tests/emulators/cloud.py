"""What every emulated cloud is made of: one lock, one clock, one bill, routes behind a server, containers, and the
rules by which it misbehaves.

A cloud is a subclass with routes and state. Each request passes, in this order: the record of requests, the rules of
misbehaviour, admission (keys, and what stands in front of the cloud), its route's handler, and the check against the
cloud's own OpenAPI file; what a rule makes of the answer comes after that check. A thread ticks twenty times a second,
so that what is due happens although nobody asks.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from .bill import Bill
from .clock import Clock
from .container_spec import Boot, ContainerSpec
from .containers import Container, Containers
from .misbehaviour import EVERYWHERE, INSTEAD, SPOILED, Misbehaviour, Rule
from .openapi import Conformance
from .server import Request, Reset, Response, Route, Router, Server, json_response
from .spoiling import answer_instead, spoiled
from .witness import Witness

TICK_S = 0.05
BOOT_S = 0.2
"""Of real time, unless told otherwise."""


class Cloud:
    """An emulated cloud; a context manager that serves it, and afterwards leaves no thread, port or process behind.

    `engine` is what runs in containers (see engines.Engine); `speed` how many of the cloud's seconds pass in one of
    ours; `boot_s` how many of its own an image takes to be pulled; `port` 0 any free one. Leaving it raises
    AssertionError when a request or an answer broke the cloud's own OpenAPI file.
    """

    ENUM_FIELDS: Sequence[str] = ()
    """Keys of answers whose values are of a fixed set."""
    OPTIONAL_FIELDS: Sequence[str] = ()
    """Keys of answers that a client must be able to do without."""
    WORDS: Sequence[str] = EVERYWHERE
    """The misbehaviour that this cloud is capable of, of misbehaviour.WHATS."""

    def __init__(
        self,
        *,
        engine: str = "none",
        speed: float = 1.0,
        misbehave: Iterable[Mapping[str, Any]] = (),
        boot_s: float | None = None,
        balance_usd: float = 100.0,
        port: int = 0,
    ) -> None:
        self.engine = engine
        self.boot_s = BOOT_S * speed if boot_s is None else boot_s
        self.lock = threading.RLock()
        self.clock = Clock(speed)
        self.billing = Bill(self.clock, balance_usd)
        self.misbehaviour = Misbehaviour(misbehave, self.WORDS)
        self.requests: list[Request] = []
        """Every request so far, but those to `/_emulator`."""
        self.witness = Witness()
        self.containers: Containers
        self.conformance = Conformance()
        self._server = Server(self._answer, port)
        self._router = Router(())
        self._ticking = threading.Thread(target=self._tick_until_stopped, name="ticks", daemon=True)

    # For subclasses: what makes it this cloud.

    def routes(self) -> list[Route]:
        """All that it answers, but for `/_emulator`. Called once, when it starts."""
        raise NotImplementedError

    @property
    def env(self) -> dict[str, str]:
        """The variables that point the product at this cloud."""
        raise NotImplementedError

    def refusal(self, status: int, detail: str) -> Response:
        """An error in this cloud's own form."""
        raise NotImplementedError

    def admit(self, _: Request) -> Response | None:
        """The refusal of a request before its handler sees it, or None."""
        return None

    def finished(self, _: Request, response: Response) -> Response:
        """The answer with what all answers have. Called under the lock."""
        return response

    def gpu_of(self, _: Request) -> str:
        """The GPU that a create asks for, for rules that are about some."""
        return ""

    def tick(self) -> None:
        """Lets what is due happen. Called under the lock."""

    def state(self) -> Any:
        """What `GET /_emulator/state` answers. Called under the lock."""
        raise NotImplementedError

    # For subclasses: how a host of theirs gets there, and what runs on it.

    def boot_of(self, gpu: str) -> Boot:
        """By the rules, for a host with such a GPU. Called under the lock, once for each container."""
        line, late, crash, dead = (
            self.misbehaviour.take(what, call="create", gpu=gpu)
            for what in ("system-line", "early-running", "crash-loop", "never-boots")
        )
        return Boot(
            pull_s=late.seconds if late else self.boot_s,
            dead=dead is not None,
            fatal=(line.text,) if line else (),
            crash_after_s=crash.seconds if crash else None,
        )

    def run(self, spec: ContainerSpec, boot: Boot) -> Container:
        """A container on this cloud's engine. Called under the lock. Raises Reset once the cloud is stopping."""
        if self.stopping.is_set():
            raise Reset
        return self.containers.start(spec, self.engine, boot)

    # For tests.

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def stopping(self) -> threading.Event:
        """Set when the cloud stops: whatever waits, waits for this as well."""
        return self._server.stopping

    def bill(self) -> dict[str, Any]:
        """`{"usd", "resources": [{"id", "name", "alive", "usd"}]}` as of now."""
        with self.lock:
            self.tick()
            return self.billing.as_json()

    def misbehave(self, *rules: Mapping[str, Any]) -> None:
        """From now on by these rules as well."""
        with self.lock:
            self.misbehaviour.add(*rules)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None:
            self.conformance.complain()

    def start(self) -> None:
        with self.lock:  # early requests wait; a port that is taken raises before anything is there to be left
            self._server.start()
            self.containers = Containers(self.clock)
            self._router = Router([*self._own_routes(), *self.routes()])
        self._ticking.start()

    def stop(self) -> None:
        with self.lock:  # whoever holds it may be starting a container
            self.stopping.set()
        self._ticking.join()
        self.containers.close()  # while it answers: who is ended may say so
        self._server.stop()

    # How it answers.

    def _answer(self, request: Request) -> Response:
        with self.lock:
            self.tick()
            if not request.path.startswith("/_emulator/"):
                self.requests.append(request)
        found = self._router.find(request)
        if not isinstance(found, tuple):
            return self._no_route(found)
        route, request = found
        if route.path.startswith("/_emulator/"):
            return self._routed(route, request)
        call = f"{request.method} {_told(route, request)}"
        done = self.witness.sees(call, request.client)
        response = self._routed(route, request)
        done()
        return response

    def _routed(self, route: Route, request: Request) -> Response:
        with self.lock:
            rule = self.misbehaviour.take(*INSTEAD, *SPOILED, call=route.call, gpu=self.gpu_of(request))
        if rule:
            return self._misbehaved(rule, route, request)
        return self._handled(route, request)

    def _no_route(self, allowed: Sequence[str]) -> Response:
        if not allowed:
            return self.refusal(404, "resource not found")
        refusal = self.refusal(405, "The requested method is not allowed for this path.")
        return replace(refusal, headers={**refusal.headers, "Allow": ", ".join(allowed)})

    def _handled(self, route: Route, request: Request) -> Response:
        with self.lock:
            response = self.admit(request) or (route.handle(request) if route.locked else None)
        response = response or route.handle(request)
        with self.lock:
            response = self.finished(request, response)
            self.conformance.check(request, response)
        return response

    def _misbehaved(self, rule: Rule, route: Route, request: Request) -> Response:
        if rule.do in SPOILED:
            return spoiled(self._handled(route, request), rule, self.ENUM_FIELDS, self.OPTIONAL_FIELDS)
        if rule.when == "after":
            self._handled(route, request)
        return answer_instead(rule, self.refusal, self.stopping)

    def _tick_until_stopped(self) -> None:
        while not self.stopping.wait(TICK_S):
            with self.lock:
                self.tick()

    # `/_emulator`: for people and for programs that cannot reach this object.

    def _own_routes(self) -> list[Route]:
        return [
            Route("GET", "/_emulator/bill", lambda _: json_response(self.bill())),
            Route("GET", "/_emulator/state", lambda _: json_response(self.state())),
            Route("POST", "/_emulator/misbehave", self._add_rules),
        ]

    def _add_rules(self, request: Request) -> Response:
        try:
            self.misbehave(*request.json())
        except (TypeError, ValueError) as error:
            return json_response({"error": f"expected a list of rules: {error}"}, 400)
        return Response(204)


def _told(route: Route, request: Request) -> str:
    """The route, with the rest of the path where it ends in one."""
    head, is_open, _ = route.path.partition("{path...}")
    return f"{head}{request.params['path']}" if is_open else route.path
