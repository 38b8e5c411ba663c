"""What a machine prints: first its set-up's own lines, then those of its container. Asked of the machine itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from gpu_providers.errors import NotFound, ProviderUnavailable
from gpu_providers.lambda_cloud.machines import Machines
from gpu_providers.lambda_cloud.on_machine import CONTAINER
from gpu_providers.lambda_cloud.set_up import FOLDER, login_to
from gpu_providers.lambda_cloud.ssh import HostKeyChanged, NotUp, Session, connect

MOST_LINES = 20_000
"""Of the past, when no number is given."""
LOOK_S = 15.0
FAILURES = 3
"""How many looks in a row may fail while following a machine that has been set up."""

_SET_UP = f"tail -n +{{first}} {FOLDER}/set_up.log 2>/dev/null"
_EXISTS = f"sudo -n docker inspect {CONTAINER} >/dev/null 2>&1"
_PAST = f"{_EXISTS} && sudo -n docker logs {CONTAINER} 2>&1 | cat -n | tail -n {{most}}"
"""Each with its number, from 1, and a tab before it."""
_COMING = f"sudo -n docker logs -f {CONTAINER} 2>&1 | stdbuf -oL tail -n +{{first}}"


def machine_log(
    machines: Machines, name: str, *, tail: int | None, follow: bool, stop: Callable[[], bool], poll_s: float
) -> Iterator[str]:
    """As the contract's `logs`, but that `stop()` has to tell when the machine is gone; one that was forgotten is.

    Following ends with the container as well. `poll_s` is between two looks at a machine without one.
    """
    log = _Log(machines, name)
    wanted = MOST_LINES if tail is None else tail
    try:
        lines = log.past(wanted)
    except NotUp as down:
        if log.is_set_up or not follow:
            raise _unavailable(down) from None
        lines = []
    yield from lines[max(0, len(lines) - wanted) :]
    if follow:
        yield from _following(log, stop, poll_s)


class _Log:
    """The log of one machine, read in several goes, each line once."""

    has_ended = False
    """No line will follow."""

    def __init__(self, machines: Machines, name: str) -> None:
        self._machines = machines
        self._name = name
        self._set_up_lines = 0
        self._container_lines = 0
        """How many were read, or left out, so far."""

    @property
    def is_set_up(self) -> bool:
        """Raises NotFound."""
        machine = self._machines.get(self._name)
        if machine is None:
            raise NotFound(f"nothing is known here of a machine {self._name}")
        return bool(machine.service_url)

    def past(self, most: int) -> Sequence[str]:
        """All of the set-up, and the last so many of the container."""
        with self._session() as session:
            lines = list(self._new_of_set_up(session))
            for line in _lines(session.run(_PAST.format(most=max(1, most))).stdout):
                number, _, text = line.partition("\t")
                self._container_lines = int(number)
                lines.append(text)
        return lines

    def coming(self, stop: Callable[[], bool]) -> Iterator[str]:
        """What is new, and of a container whatever it will ever print, until `stop()`."""
        with self._session() as session:
            exists = session.run(_EXISTS).exit == 0
            yield from self._new_of_set_up(session)
            if exists:
                yield from self._new_of_container(session, stop)

    def _new_of_set_up(self, session: Session) -> Iterator[str]:
        for line in _lines(session.run(_SET_UP.format(first=self._set_up_lines + 1)).stdout):
            self._set_up_lines += 1
            yield line

    def _new_of_container(self, session: Session, stop: Callable[[], bool]) -> Iterator[str]:
        for line in session.lines(_COMING.format(first=self._container_lines + 1), stop):
            self._container_lines += 1
            yield line.rstrip("\r")
        self.has_ended = True

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Raises NotUp, NotFound and ProviderUnavailable."""
        try:
            with connect(login_to(self._machines, self._name), timeout_s=LOOK_S) as session:
                yield session
        except HostKeyChanged as changed:
            raise ProviderUnavailable(str(changed), hint="somebody else may answer in its place: end it") from None


def _following(log: _Log, stop: Callable[[], bool], poll_s: float) -> Iterator[str]:
    failures = 0
    with suppress(NotFound):
        while not stop():
            try:
                for line in log.coming(stop):
                    failures = 0
                    yield line
            except NotUp as down:
                failures += 1
                if failures > FAILURES and log.is_set_up:
                    raise _unavailable(down) from None
            if log.has_ended:
                return
            time.sleep(poll_s)


def _unavailable(down: NotUp) -> ProviderUnavailable:
    return ProviderUnavailable(f"the machine does not tell its log: {down.detail}", hint="try again in a moment")


def _lines(text: str) -> Sequence[str]:
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
