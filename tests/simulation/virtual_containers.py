"""Containers without processes: the real supervisor in simulated time, beside an engine that only pretends.

What a host does is as in `emulators.containers`: it pulls, starts the command, starts it again when it has ended.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulators.container_log import CONTAINER, SYSTEM, Log
from emulators.container_spec import Boot, ContainerSpec, State
from emulators.containers import FIRST_PAUSE_S, LONGEST_PAUSE_S
from emulators.server import Request, Reset, Response
from scheduler import CutShort, Machine, Process, Scheduler
from virtual_engine import Engine, Status
from virtual_network import Network, Unreachable, request_of
from virtual_threads import current

import supervisor
from gpu_providers.vast.unpack import BOX, unpack

TICK_S = 4.0
"""How often the supervisor looks: less often than in real containers, for histories to take less time."""
LOAD_S = 8.0
_CRASHED = 1
_DISK = Path("/nowhere/supervisor.json")
"""Where no supervisor finds a record: what it keeps is kept in memory."""


class Supervisor(supervisor.Supervisor):
    """The real one, but for signals and its disk."""

    def __init__(self, config: supervisor.Config, container: "Container", record: supervisor.Record) -> None:
        super().__init__(config, container.environ, record)
        self._container = container

    def catch_signals(self) -> None:
        self.wake_in = 0

    def write(self, _name: str, document: Mapping[str, object], *, durable: bool) -> None:
        if durable:
            self._container.record = self.record
        else:
            self._container.status = (self._container.scheduler.now, document)


class Container:
    """As `emulators.containers.Container`, for whom it stands in."""

    def __init__(self, spec: ContainerSpec, boot: Boot, host: "Containers", number: int) -> None:
        self.spec = spec
        self.folder = _DISK.parent
        self.scheduler = host.scheduler
        self.born_at = host.scheduler.now
        self.log = Log(lambda: host.scheduler.now)
        self.restarts = 0
        self.exit_code: int | None = None
        self.start_error = ""
        self.host_port = number
        self.environ = _environ(spec.env)
        self.engine: Engine | None = None
        self.record: supervisor.Record | None = None
        self.status: Status = (0.0, {})
        self.started = threading.Event()
        self._host = host
        self._boot = boot
        self._state = State.CREATING
        self._started_s = 0.0
        self.process: Process = host.scheduler.spawn(f"container-{spec.id}", host.machine, self._live)
        host.by_process[self.process.pid] = self

    def say(self, line: str) -> None:
        self.log.add(SYSTEM, line)

    def state(self) -> State:
        return self._state

    @property
    def uptime_s(self) -> float | None:
        return self.scheduler.now - self._started_s if self._state is State.RUNNING else None

    @property
    def local_port(self) -> int | None:
        return self.host_port if self._state is State.RUNNING else None

    @property
    def port(self) -> int | None:
        listens = self._state is State.RUNNING and self.engine and self.engine.listens
        return self.host_port if listens else None

    def stop(self) -> None:
        """At once, whatever it is doing: also its request for this very end."""
        if self._state is State.REMOVED:
            return
        if self._state in (State.RUNNING, State.RESTARTING):
            self.say("stop container")
        self._state = State.REMOVED
        self.say("remove container")
        self.log.end()
        self.scheduler.kill(self.process)

    def join(self) -> None:
        pass

    def start_engine(self) -> Engine:
        """The supervisor's child, or the main process where there is no supervisor."""
        told = self.environ.get("GPU_SUPERVISOR")
        command = json.loads(told)["engine"] if told else self.spec.cmd
        self.log.add(CONTAINER, "INFO 01-01 00:00:00 Starting to load model")
        self.engine = Engine(
            self.scheduler, load_s=LOAD_S, command=command, environ=self.environ, status=lambda: self.status
        )
        return self.engine

    def _live(self) -> None:
        if self._boot.dead or not self._create():
            return
        pause_s = FIRST_PAUSE_S
        while True:
            self.say(f"start container for {self.spec.image}: begin")
            self._started_s = self.scheduler.now
            self._become(State.RUNNING)
            self.exit_code = self._run()
            self.engine = None
            if not self.spec.restarts:
                self._become(State.EXITED)
                return
            self._become(State.RESTARTING)
            self.scheduler.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self.restarts += 1

    def _become(self, state: State) -> None:
        self._state = state
        self.started.set()
        self._host.changed()

    def _create(self) -> bool:
        """Whether the command can be started."""
        self.say(f"create container {self.spec.image}")
        if not self._boot.fatal:
            self.scheduler.sleep(self._boot.pull_s)
        for line in self._boot.fatal or (f"Status: Downloaded newer image for {self.spec.image}",):
            self.say(line)
        return not self._boot.fatal

    def _run(self) -> int:
        """Until the command ends: its exit status."""
        if self._boot.crash_after_s is not None:
            for line in self._boot.crash_lines:
                self.log.add(CONTAINER, line)
            self.scheduler.sleep(self._boot.crash_after_s)
            return _CRASHED
        if "GPU_SUPERVISOR" in self.environ:
            config = replace(supervisor.parse_config(self.environ["GPU_SUPERVISOR"]), tick_s=TICK_S, grace_s=1.0)
            return Supervisor(config, self, self._recorded(config)).run()
        engine = self.start_engine()
        while engine.exit is None:
            self.scheduler.sleep(TICK_S)
            engine.reap()
        return engine.exit

    def _recorded(self, config: supervisor.Config) -> supervisor.Record:
        """What the supervisor finds on its disk."""
        new = supervisor.load_record(_DISK, config.name, config.launched_at)
        if self.record is None:
            return new
        now = self.scheduler.now
        elapsed_s = self.record.elapsed_now(boot=supervisor.boot_id(), now_s=now, wall_s=now)
        return replace(new, elapsed_s=elapsed_s, started_at=self.record.started_at, ending=self.record.ending)


def _environ(env: Mapping[str, str]) -> dict[str, str]:
    """With what Vast's parcel brings."""
    parcel = {name: value for name, value in env.items() if name.startswith(BOX)}
    return {**env, **(unpack(parcel)[0] if parcel else {})}


class Containers:
    """All of one cloud, on machines that never sleep; and the way to the engines in them."""

    def __init__(self, scheduler: Scheduler, machine: Machine, network: Network, folder: Path) -> None:
        self._folder = folder
        self._folders = itertools.count()
        self.scheduler = scheduler
        self.machine = machine
        self.network = network
        self.changed: Callable[[], object] = lambda: None
        """Called when something begins or ceases to run: clouds charge by that."""
        self.by_process: dict[int, Container] = {}
        self._made: list[Container] = []

    def __iter__(self) -> Iterator[Container]:
        return iter(self._made)

    def start(self, spec: ContainerSpec, _engine: object, boot: Boot) -> Container:
        container = Container(spec, boot, self, 1 + len(self._made))
        self._made.append(container)
        return container

    def new_folder(self, name: str) -> Path:
        folder = self._folder / f"{name}-{next(self._folders)}"
        folder.mkdir(parents=True)
        return folder

    def watch(self) -> None:
        pass

    def close(self) -> None:
        pass

    def at(self, port: int | None) -> Engine | None:
        """The engine that listens at this port of the cloud's."""
        container = self._made[port - 1] if port else None
        return container.engine if container and container.port else None


hosts: list[Containers] = []
"""Those of the simulation that runs, one for each cloud."""


# What stands in for parts of the supervisor that need a real machine.


def _here() -> Container:
    """The one in which this thread runs."""
    actor = current()
    assert actor
    return next(found for host in hosts if (found := host.by_process.get(actor.process.pid)))


def _fetch(call: supervisor.Call, _tls: object = None) -> tuple[int, bytes]:
    """As the supervisor's own. Raises OSError."""
    request, host = request_of(call.method, call.url, call.headers, call.body.encode())
    response = _own_engine(request) if host.startswith("127.0.0.1:") else _exchanged(request, host)
    assert isinstance(response.body, bytes)
    return response.status, response.body


def _own_engine(request: Request) -> Response:
    engine = _here().engine
    if engine is None or not engine.listens:
        raise ConnectionRefusedError("connection refused")
    return engine.answer(request)


def _exchanged(request: Request, host: str) -> Response:
    scheduler, network = hosts[0].scheduler, hosts[0].network
    try:
        with scheduler.patience(supervisor.HTTP_TIMEOUT_S):
            return network.exchange(request, host)
    except (Reset, Unreachable) as error:
        raise ConnectionResetError("connection reset") from error
    except CutShort:
        raise TimeoutError("timed out") from None


class _Select:
    """Waits: there are no signals here."""

    @staticmethod
    def select(*arguments: Any) -> None:
        hosts[0].scheduler.sleep(arguments[-1])


PATCHES = (
    (supervisor, "fetch", _fetch),
    (supervisor, "Engine", lambda *_: _here().start_engine()),
    (supervisor, "select", _Select),
    (supervisor, "say", lambda text: _here().log.add(CONTAINER, f"[supervisor] {text}")),
)
