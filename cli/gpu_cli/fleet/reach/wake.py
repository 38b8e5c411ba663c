"""Waking what scales to zero with one request: for its edge each is work, which starts a worker or keeps one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.fleet.clock import Clock
from gpu_cli.fleet.reach.engine_client import EngineClient
from gpu_providers.base import Secret

HOLD_S = 360.0
"""For a single answer, of which several may follow each other: Modal's edge gives one after 150 s (modal.com/docs, page
webhook-timeouts), RunPod's gives up after 330 s."""
WAKE_DEADLINE_S = 1800.0
"""A worker that starts pulls its image and loads the model, as any other machine."""
FIRST_ANSWER_S = 5.0
"""One that is up has answered by then."""
POLL_S = 1.0


class Knock:
    """A request for `/health` that is held open until a worker answers it, or the edge refuses it for now."""

    def __init__(self) -> None:
        self._answer: Future[bool] | None = None

    def is_answered(self, client: EngineClient, *, within_s: float = 0.0) -> bool:
        """Whether a worker has said that it is healthy. As long as none has, a request is under way after this call,
        and never a second one: one that came back for nothing is made again with the next call.
        """
        if self._answer is None or (self._answer.done() and (self._answer.exception() or not self._answer.result())):
            self._answer = _asked(client)
        try:
            return self._answer.result(within_s)
        except TimeoutError:
            return False


def wake(endpoint: str, key: Secret, clock: Clock, notify: Callable[[str], object]) -> None:
    """Come back when a worker of what scales to zero is up.

    Raises UserError NEVER_HEALTHY when none comes up.
    """
    knock, give_up_at = Knock(), clock.now() + WAKE_DEADLINE_S
    with EngineClient(endpoint, key) as client:
        if knock.is_answered(client, within_s=FIRST_ANSWER_S):
            return
        notify("no worker is up: waking one")
        while not knock.is_answered(client):
            if clock.now() >= give_up_at:
                raise UserError(Exit.NEVER_HEALTHY, "no-answer", "no worker came up", hint="see why: gpu logs")
            clock.sleep(POLL_S)


def _asked(client: EngineClient) -> Future[bool]:
    """In a thread that nobody has to wait for: it may be held for minutes, and must not hold up the program's end."""
    answer: Future[bool] = Future()

    def ask() -> None:
        try:
            answer.set_result(client.is_healthy(held_s=HOLD_S))
        except Exception as error:  # noqa: BLE001 - for whoever looks for the answer
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer
