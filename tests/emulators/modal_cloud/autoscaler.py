"""How many containers a function has, and which of them works on which call.

Sources: the SDK's settings (app.py, _functions.py); Modal's guide on retries: of a deployed app, a container that
crashed is started again as long as there is work, less and less often, and its work goes to another one. What is not
documented is chosen here: how long these pauses are, and that of several containers the least busy one is next.
"""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from .calls import Call

if TYPE_CHECKING:
    from .containers import Container
    from .functions import Function

SCALEDOWN_S = 60.0
"""How long a container without work is kept, unless its function says otherwise."""
MOST_CONTAINERS = 10
"""Of one function that does not say otherwise: as many GPUs as Modal's smallest plan has."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Real time, between the starts of containers of which none has ever become ready."""


class Autoscaler:
    """Of one function. Whatever changes, `settle` is called, and does what is due."""

    def __init__(self, function: "Function") -> None:
        self.containers: list[Container] = []
        """Those that have not ended, be they only wanted yet."""
        self.waiting: deque[Call] = deque()
        self._function = function
        self._failures = 0
        """Containers in a row that ended without having been ready."""
        self._resumes_at = 0.0
        """By the loop's clock: no container is started before."""
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, call: Call) -> None:
        self.waiting.append(call)
        self.settle()

    def cancel(self, call: Call) -> None:
        """Nobody waits for it any more."""
        if call in self.waiting:
            self.waiting.remove(call)
        for container in self.containers:
            container.work.cancel(call)

    def wake(self) -> None:
        """One container at least, though there is no call for it."""
        if not any(container.lives for container in self.containers):
            self._start(1)

    def retire_all(self) -> None:
        """They take no more calls, and end when they have none."""
        for container in self.containers:
            container.retire()

    def stop(self, result: api_pb2.GenericResult) -> None:
        """Whatever runs or waits ends so."""
        self.fail_waiting(result)
        for container in self.containers:
            container.stop()

    def fail_waiting(self, result: api_pb2.GenericResult) -> None:
        while self.waiting:
            self.waiting.popleft().fail(result)

    def has_become_ready(self) -> None:
        """A container has become ready."""
        self._failures = 0
        self.settle()

    def has_ended(self, container: "Container") -> None:
        """It is gone: whatever it worked on is begun again elsewhere, if that is possible."""
        self.containers.remove(container)
        for call in container.work.abandon():
            if call.may_begin_again and self._function.published:
                self.waiting.appendleft(call)
            else:
                call.fail(container.result)
        if container.is_stillborn:
            self._failures += 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
            self._resumes_at = asyncio.get_running_loop().time() + pause_s
            if not self._function.is_web:
                self.fail_waiting(container.result)
        self.settle()

    @property
    def target_concurrency(self) -> float:
        """Calls for which there is to be one container. A Server that does not say it has one for all."""
        definition = self._function.published
        if definition is None or definition.is_server:
            return self._function.settings.target_concurrency_float or math.inf
        return definition.target_concurrent_inputs or definition.max_concurrent_inputs or 1

    @property
    def is_at_its_limit(self) -> bool:
        return len(self.containers) >= self._most

    @property
    def running(self) -> int:
        return sum(container.work.load for container in self.containers)

    def settle(self) -> None:
        """Does all that is due now, and comes back when more is."""
        self._hand_out()
        if self._function.published:
            self._start(self._lacking())
        self._retire_idle()

    def _hand_out(self) -> None:
        while self.waiting and (takers := [one for one in self.containers if one.work.is_asking]):
            min(takers, key=lambda one: one.work.load).work.take(self.waiting.popleft())

    @property
    def _most(self) -> int:
        return self._function.settings.max_containers or MOST_CONTAINERS

    def _lacking(self) -> int:
        living = [container for container in self.containers if container.lives]
        load = len(self.waiting) + sum(container.work.load for container in living)
        wanted = max(math.ceil(load / self.target_concurrency), self._function.settings.min_containers)
        return wanted - len(living)

    def _start(self, count: int) -> None:
        if count > 0 and (pause_s := self._resumes_at - asyncio.get_running_loop().time()) > 0:
            self._come_back_in(pause_s)
            return
        for _ in range(min(count, self._most - len(self.containers))):
            self.containers.append(self._function.run(self._function))

    def _retire_idle(self) -> None:
        """Those that have had no work for so long, as long as enough are left."""
        window_s = (self._function.settings.scaledown_window or SCALEDOWN_S) / self._function.speed
        now_s = asyncio.get_running_loop().time()
        living = [container for container in self.containers if container.lives]
        spare = len(living) - self._function.settings.min_containers
        since = {one: one.work.idle_since for one in living if one.work.idle_since is not None}
        for container in sorted(since, key=since.__getitem__)[: max(spare, 0)]:
            if (left_s := since[container] + window_s - now_s) > 0:
                self._come_back_in(left_s)
                return
            container.retire()

    def _come_back_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer and not self._timer.cancelled() and loop.time() < self._timer.when() <= loop.time() + seconds:
            return
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self.settle)
