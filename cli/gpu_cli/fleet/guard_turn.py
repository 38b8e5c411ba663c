"""What the guard does: it looks at everything that lives, time and again, and ends what has to end.

It enforces idleness, deadline and budget from this side, ends what a killed command left behind, sees detached starts
(`gpu up --no-wait`) through, and writes down what ended by itself. The supervisor on the node has the first turn: the
guard acts when it is `GUARD_GRACE_S` late. It also holds the forwarders of what is not reached directly.
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

from gpu_cli.errors import UserError
from gpu_cli.fleet.away_beats import Heartbeats
from gpu_cli.fleet.deployment import STARTING, Deployment
from gpu_cli.fleet.engine_client import EngineClient, EngineRefused, EngineUnreachable
from gpu_cli.fleet.fleet import Fleet
from gpu_cli.fleet.forwarding import Forwarding
from gpu_cli.fleet.keep_warm import KeepWarm
from gpu_cli.fleet.link import client_for, engine_url
from gpu_cli.fleet.reconcile import look, why_end, why_not_booting
from gpu_cli.fleet.recover import open_fleet
from gpu_cli.fleet.replace import replace_lost
from gpu_cli.fleet.stops import GUARD_GRACE_S, ends_at_latest, idle_for_s
from gpu_cli.fleet.store import StateMoved
from gpu_cli.fleet.teardown import tear_down
from gpu_cli.fleet.wake import Knock
from gpu_cli.locks import is_held
from gpu_cli.ui.output import print_message
from gpu_cli.ui.progress import Silent
from gpu_providers.base import Kind
from gpu_providers.errors import ProviderError

TURN_S = 2.0
"""How often it looks at every deployment."""
WORKERS = 8


class Guard:
    """One turn after the other over everything that lives; slow work goes to threads, one a deployment."""

    def __init__(self, fleet: Fleet, stop: Event) -> None:
        self._fleet = fleet
        self._stop = stop
        self._clients: dict[tuple[str, str], EngineClient] = {}
        """By resource name and URL, which a restart may move."""
        self._busy: dict[str, Future[None]] = {}
        self._due_at: dict[str, float] = {}
        self._looks: Counter[str] = Counter()
        self._knocks: dict[str, Knock] = {}
        """At what is started by requests."""
        self._keep_warm = KeepWarm(fleet, self._client)
        self._pool = ThreadPoolExecutor(WORKERS)
        self._forwarding = Forwarding(fleet)
        self._heartbeats = Heartbeats(fleet)

    def turn(self) -> bool:
        """Look at everything once, or at some of it when told to stop. False when nothing lives."""
        self._forget_done()  # before the record is read: what they have ended is not looked at again
        live = self.forward()
        self._heartbeats.tell(live)
        self._forget_ended(live)
        neighbours = Counter(deployment.provider for deployment in live)
        for deployment in live:
            if self._stop.is_set():
                break
            if deployment.resource_name not in self._busy and self._is_due(deployment, neighbours[deployment.provider]):
                with logged(deployment.resource_name):
                    self._attend(deployment)
                self.forward()  # clouds and engines may take their time, and clients wait for their port
        return bool(live)

    def forward(self) -> Sequence[Deployment]:
        """Forward to all that live and are not reached directly, and to nothing else; what lives, with its ports."""
        live = self._fleet.store.live()
        self._forwarding.close_all_but(live)
        # Ports on record first: a new one might be one of theirs.
        for deployment in sorted(live, key=lambda one: one.local_port is None):
            with logged(deployment.resource_name):
                self._forwarding.stand(deployment)
        return self._fleet.store.live()

    def make_room(self) -> None:
        """Let go of the ports, for the next guard, and of what goes through them from here."""
        self._forwarding.stop_listening()
        self._close_clients_but(())

    def see_off(self) -> None:
        """Come back when the connections have ended: with their clients, or with their deployments."""
        while self._forwarding.carries:
            with logged("guard"):
                self._forwarding.close_all_but(self._fleet.store.live())
            self._fleet.clock.sleep(TURN_S)

    def close(self) -> None:
        """Forward to nothing any more."""
        self._forwarding.close()

    def _is_due(self, deployment: Deployment, neighbours: int) -> bool:
        """Whether its cloud may be asked again; a provider that does not load is not asked anything.

        Clouds limit the requests of an account: the more there are at one, the more seldom each is looked at, but in
        time for its deadline.
        """
        name, now = deployment.resource_name, self._fleet.clock.now()
        if now < self._due_at.get(name, 0.0):
            return False
        with contextlib.suppress(ProviderError):
            poll_s = self._fleet.provider(deployment.provider).poll_interval_s
            self._due_at[name] = max(now + poll_s, min(now + neighbours * poll_s, ends_at_latest(deployment)))
        return True

    def _attend(self, deployment: Deployment) -> None:
        """A cloud is asked one thing at a time; of a start that nobody watches also how its host comes on."""
        detached, resource = self._is_detached_start(deployment), None
        self._looks[deployment.resource_name] += 1
        if detached and self._looks[deployment.resource_name] % 2 == 0:
            reason = why_end(self._fleet, deployment, None) or why_not_booting(self._fleet, deployment, print_message)
        else:
            deployment, resource = look(self._fleet, deployment)
            reason = why_end(self._fleet, deployment, resource) or self._why_idle(deployment)
        if reason:
            self._end(deployment, reason)
        elif not deployment.is_live:
            _replace(self._fleet, deployment)  # who began to end it may not have seen it gone
        elif detached:
            self._see_through(deployment)
        elif resource:
            self._keep_warm.attend(deployment, resource)

    def _is_detached_start(self, deployment: Deployment) -> bool:
        starting = deployment.state in STARTING and not deployment.tied and deployment.resource_id != ""
        return starting and not is_held(self._fleet.launch_lock_path(deployment.name))

    def _why_idle(self, deployment: Deployment) -> str:
        """`idle` when a fresh look says that there has been no work for too long. No answer is not idleness."""
        if idle_for_s(deployment, self._fleet.clock.now()) is None or deployment.active_at is None:
            return ""
        try:
            work = self._client(deployment).work()
        except (EngineUnreachable, EngineRefused, UserError):  # the last one without its certificate
            return ""
        now = self._fleet.clock.now()
        if work.running or work.waiting or work.done != deployment.work_done:
            self._fleet.store.update(deployment.resource_name, active_at=now, work_done=work.done)
            return ""
        return "idle" if now - deployment.active_at >= deployment.idle_s + GUARD_GRACE_S else ""

    def _end(self, deployment: Deployment, reason: str) -> None:
        print_message(f"{deployment.resource_name}: ending it: {reason}")

        def end(fleet: Fleet) -> None:
            ended = tear_down(fleet, deployment, reason)
            _done(ended)
            _replace(fleet, ended)

        self._start(deployment, end)

    def _see_through(self, deployment: Deployment) -> None:
        """A detached start: the rest of the way is short once it answers."""
        from gpu_cli.fleet.start import watch_start  # slow to import, and `gpu up` waits for the guard's start

        if engine_url(deployment) and self._is_healthy(deployment):
            self._start(deployment, lambda fleet: _done(watch_start(fleet, deployment, Silent(), tied=False)))

    def _is_healthy(self, deployment: Deployment) -> bool:
        client = self._client(deployment)
        if deployment.kind is not Kind.SERVERLESS:
            return client.is_healthy()
        return self._knocks.setdefault(deployment.resource_name, Knock()).is_answered(client)

    def _start(self, deployment: Deployment, work: Callable[[Fleet], None]) -> None:
        """In a thread with a store connection of its own."""

        def run() -> None:
            fleet = open_fleet(self._fleet.paths, self._fleet.environ, self._fleet.clock, print_message)
            with closing(fleet.store), logged(deployment.resource_name):
                work(fleet)

        self._busy[deployment.resource_name] = self._pool.submit(run)

    def _client(self, deployment: Deployment) -> EngineClient:
        known_as = (deployment.resource_name, engine_url(deployment))
        if known_as not in self._clients:
            key = self._fleet.key_of(deployment)
            if key is None:
                raise EngineUnreachable(f"{deployment.resource_name} has no key on this machine")
            self._clients[known_as] = client_for(self._fleet, deployment, key)
        return self._clients[known_as]

    def _forget_done(self) -> None:
        for name, work in list(self._busy.items()):
            if work.done():
                del self._busy[name]

    def _forget_ended(self, live: Sequence[Deployment]) -> None:
        self._close_clients_but([(one.resource_name, engine_url(one)) for one in live])
        names = {deployment.resource_name for deployment in live}
        self._due_at = {name: due_at for name, due_at in self._due_at.items() if name in names}
        self._looks = Counter({name: looks for name, looks in self._looks.items() if name in names})
        self._knocks = {name: knock for name, knock in self._knocks.items() if name in names}
        self._keep_warm.forget_all_but(names)

    def _close_clients_but(self, known: Collection[tuple[str, str]]) -> None:
        for known_as in set(self._clients) - set(known):
            self._clients.pop(known_as).__exit__()


@contextmanager
def logged(name: str) -> Iterator[None]:
    """Trouble with one deployment must not keep the others from being guarded; the next turn tries again."""
    try:
        yield
    except (UserError, ProviderError, StateMoved, EngineUnreachable) as error:
        print_message(f"{name}: {error}")
    except Exception:  # noqa: BLE001 - a guard that dies of a bug guards nothing; the log has the traceback
        print_message(f"{name}: {traceback.format_exc()}")


def _done(deployment: Deployment) -> None:
    print_message(f"{deployment.resource_name}: {deployment.state} {deployment.reason}")


def _replace(fleet: Fleet, ended: Deployment) -> None:
    if said := replace_lost(fleet, ended):
        print_message(said)
