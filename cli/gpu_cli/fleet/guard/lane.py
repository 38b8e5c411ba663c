"""What the guard does at one cloud, in threads of its own: a cloud that hangs holds up nothing elsewhere."""

import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from threading import Event

from gpu_cli.errors import UserError
from gpu_cli.fleet.deployment import Deployment
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.guard.deeds import Deed
from gpu_cli.fleet.guard.watch import Watch
from gpu_cli.fleet.reach.engine_client import EngineUnreachable
from gpu_cli.fleet.store import StateMoved
from gpu_cli.ui.output import print_message
from gpu_providers.errors import ProviderError

DEEDS = 8
"""At once, at one cloud."""


class Lane:
    """It looks at one deployment after the other; what has to be done then is done beside that."""

    def __init__(self, fleet: Fleet, stop: Event) -> None:
        self._fleet = fleet
        self._stop = stop
        self._looking = ThreadPoolExecutor(1)
        self._doing = ThreadPoolExecutor(DEEDS)
        self._watch: Watch | None = None
        self._round: Future[None] | None = None
        self._busy: dict[str, Future[None]] = {}

    @property
    def is_free(self) -> bool:
        """Whether the last round of looks is over."""
        return self._round is None or self._round.done()

    @property
    def is_busy(self) -> bool:
        """Whether anything is looked at or being done."""
        return not self.is_free or not all(deed.done() for deed in list(self._busy.values()))

    def is_busy_with(self, deployment: Deployment) -> bool:
        """Whether something is being done about it."""
        deed = self._busy.get(deployment.resource_name)
        return deed is not None and not deed.done()

    def look_at(self, due: Sequence[Deployment], live: Sequence[Deployment]) -> None:
        """Begin a round; `live` is all that lives there. It ends early when the guard is told to stop."""
        self._busy = {name: deed for name, deed in self._busy.items() if not deed.done()}
        self._round = self._looking.submit(self._look_at, due, live)

    def do(self, name: str, deed: Deed) -> None:
        """Begin it, unless the lane was closed meanwhile: then the next guard sees what there is to do."""
        with suppress(RuntimeError):
            self._busy[name] = self._doing.submit(self._do, name, deed)

    def wait(self, patience_s: float) -> bool:
        """For the end of the round; whether it came."""
        wait([self._round] if self._round else [], patience_s)
        return self.is_free

    def close(self) -> None:
        """Look at nothing more; what is being done goes on."""
        self._looking.submit(self._close)
        self._looking.shutdown(wait=False)
        self._doing.shutdown(wait=False)

    def _look_at(self, due: Sequence[Deployment], live: Sequence[Deployment]) -> None:
        with logged("guard"):
            self._watch = self._watch or Watch(self._fleet)
            self._watch.forget_all_but(live)
            for deployment in due:
                if self._stop.is_set():
                    return
                with logged(deployment.resource_name):
                    if deed := self._watch.attend(deployment):
                        self.do(deployment.resource_name, deed)

    def _do(self, name: str, deed: Deed) -> None:
        with logged(name), self._fleet.apart() as fleet:
            deed(fleet)

    def _close(self) -> None:
        if self._watch:
            self._watch.close()


@contextmanager
def logged(name: str) -> Iterator[None]:
    """Trouble with one deployment must not keep the others from being guarded; the next turn tries again."""
    try:
        yield
    except (UserError, ProviderError, StateMoved, EngineUnreachable) as error:
        print_message(f"{name}: {error}")
    except Exception:  # noqa: BLE001 - a guard that dies of a bug guards nothing; the log has the traceback
        print_message(f"{name}: {traceback.format_exc()}")
