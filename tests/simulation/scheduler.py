"""Many threads of which exactly one runs, and time that passes only while all of them wait.

An actor is a thread that runs until it waits: for a moment, or to be woken. Whoever is due first goes on, and the clock
jumps to that moment; of several that are due at once, the seed decides. So a history of hours takes as long as what is
computed in it, and takes the same course each time.

A process is a group of actors: the threads of one run of a program, on a machine that may sleep. One that is killed is
never resumed, so that nothing of its cleaning up happens; its threads are ended when the simulation is closed.
"""

import heapq
import io
import itertools
import math
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_real_lock = threading.Lock
_real_start = threading.Thread.start
_real_join = threading.Thread.join
MOST_HANDOVERS = 2_000_000
CRASHED = 1


class Unwound(BaseException):
    """Raised in a thread that is never to go on: the simulation is being closed."""


class CutShort(BaseException):
    """Raised in a thread that waits for longer than it has been given (`Actor.patience_until`)."""


class Stuck(AssertionError):
    """Everything waits for something that nothing will bring about."""


@dataclass
class Machine:
    """A computer, which may sleep: none of its processes goes on meanwhile, and its monotonic clock stands still."""

    name: str
    asleep_until: float = -math.inf
    slept_s: float = 0.0


@dataclass
class Process:
    """One run of a program."""

    pid: int
    name: str
    machine: Machine
    actors: "list[Actor]" = field(default_factory=list)
    alive: bool = True
    threads: list[threading.Thread] = field(default_factory=list)
    pools: list[Any] = field(default_factory=list)
    """Its thread pools."""
    signal_handlers: dict[int, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    stdout: io.StringIO = field(default_factory=io.StringIO)
    stderr: io.StringIO = field(default_factory=io.StringIO)
    died_at: float = math.inf
    exit: int | None = None
    """Its exit status, once it has ended."""
    on_death: list[Callable[[], object]] = field(default_factory=list)
    """What the kernel does when it is gone, however it went: drops its locks, and so on."""


class Actor:
    """A thread of the simulation. `run` must be over, or killed, before the simulation is closed."""

    def __init__(self, scheduler: "Scheduler", process: Process, run: Callable[[], object]) -> None:
        self.process = process
        self.scheduler = scheduler
        self.patience_until = math.inf
        """It never waits beyond this moment: see `CutShort`."""
        self.signals: list[Callable[[], object]] = []
        """Called in this thread when it goes on."""
        self.done = False
        self.due = 0
        """The number of the wake-up that counts; earlier ones are void."""
        self.joiners: list[Actor] = []
        self._run = run
        self._baton = _real_lock()
        self._baton.acquire()
        self.thread = threading.Thread(target=self._live, daemon=True, name=f"{process.name}")
        process.actors.append(self)

    def _live(self) -> None:
        self._baton.acquire()
        try:
            if not self.scheduler.closing:
                self.scheduler.begun(self)
                self._run()
        except Unwound:
            pass
        except BaseException:  # noqa: BLE001 - as Python tells of it; what looks at the history finds it there
            self.process.stderr.write(traceback.format_exc())
            self.process.exit = self.process.exit or CRASHED
        finally:
            self.done = True
            self.scheduler.over(self)

    def resume(self) -> None:
        """Hand the baton to it."""
        self._baton.release()

    def await_baton(self) -> None:
        """Until somebody hands it over."""
        self._baton.acquire()


class Scheduler:
    """The one clock, and whose turn it is."""

    def __init__(self, seed: int, start: float) -> None:
        self.random = random.Random(seed)
        self.now = start
        self.closing = False
        self.handovers = 0
        self.failure: BaseException | None = None
        self._queue: list[tuple[float, float, int, int, Actor]] = []
        self._numbers = itertools.count()
        self._pids = itertools.count(100_000)
        self._by_thread: dict[int, Actor] = {}
        self._making = False
        """A thread is being made, for which the locks are those of the system."""
        self._finished = threading.Event()
        self.processes: list[Process] = []

    # Who is there.

    def current(self) -> Actor | None:
        """Whose thread this is; None for one that is none of ours."""
        return None if self._making else self._by_thread.get(threading.get_ident())

    def spawn(self, name: str, machine: Machine, run: Callable[[], object]) -> Process:
        """A process, with `run` in its first thread. It begins when it is its turn."""
        process = Process(next(self._pids), name, machine)
        self.processes.append(process)
        self.thread(process, run)
        return process

    def thread(self, process: Process, run: Callable[[], object]) -> Actor:
        """One more thread of a process."""
        self._making = True
        actor = Actor(self, process, run)
        _real_start(actor.thread)
        self._making = False
        actor.thread._daemonic = False  # type: ignore[attr-defined]  # what its threads inherit; nobody waits for it
        self.wake(actor)
        return actor

    def kill(self, process: Process) -> None:
        """It never goes on, wherever it is. The caller is none of its threads."""
        self._bury(process)

    def _bury(self, process: Process) -> None:
        if not process.alive:
            return
        process.alive, process.died_at = False, self.now
        for actor in process.actors:
            actor.due = next(self._numbers)
        for hook in process.on_death:
            hook()

    # Waiting and waking.

    def wake(self, actor: Actor, at: float | None = None) -> None:
        """It goes on at this moment, or now; what it was due for before is void."""
        actor.due = next(self._numbers)
        moment = self.now if at is None else max(at, self.now)
        heapq.heappush(self._queue, (moment, self.random.random(), actor.due, id(actor), actor))

    def wait(self, until: float = math.inf) -> None:
        """The current actor waits for this moment, or to be woken. Raises CutShort."""
        actor = self.current()
        assert actor, "only actors wait"
        if self.closing:
            raise Unwound
        bounded = min(until, actor.patience_until)
        if bounded < math.inf and actor.process.alive:
            self.wake(actor, bounded)
        else:
            actor.due = next(self._numbers)
        self._hand_over(actor)
        if self.closing or not actor.process.alive:
            raise Unwound
        while actor.signals:
            actor.signals.pop(0)()
        if self.now >= actor.patience_until and until > actor.patience_until:
            raise CutShort

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`: also others' turns while nothing is to be waited for."""
        actor = self.current()
        assert actor
        until = self.now + max(0.0, seconds)
        while True:
            self.wait(until)
            if self.now >= until:
                return

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Inside, the current actor waits for no longer than this in all: then CutShort is raised."""
        actor = self.current()
        assert actor
        before = actor.patience_until
        actor.patience_until = min(before, self.now + seconds)
        try:
            yield
        finally:
            actor.patience_until = before

    def begun(self, actor: Actor) -> None:
        """Its thread is this one."""
        self._by_thread[threading.get_ident()] = actor

    def over(self, actor: Actor) -> None:
        """Its thread ends here."""
        self._by_thread.pop(threading.get_ident(), None)
        for joiner in actor.joiners:
            self.wake(joiner)
        if self.closing:
            return
        if actor is actor.process.actors[0]:
            self._bury(actor.process)
        self._hand_over(actor)

    def _hand_over(self, actor: Actor) -> None:
        following = self._next()
        if following is actor:
            return
        if following is None:
            self.failure = self.failure or Stuck(self._where_all_wait())
            self._finished.set()
        else:
            following.resume()
        if not actor.done:
            actor.await_baton()

    def _next(self) -> Actor | None:
        self.handovers += 1
        if self.handovers > MOST_HANDOVERS:
            self.failure = self.failure or Stuck("it does not come to an end")
            return None
        while self._queue:
            at, _, due, _, actor = heapq.heappop(self._queue)
            if due != actor.due or actor.done or not actor.process.alive:
                continue
            machine = actor.process.machine
            if machine.asleep_until > max(at, self.now):
                heapq.heappush(self._queue, (machine.asleep_until, self.random.random(), due, id(actor), actor))
                continue
            self.now = max(self.now, at)
            return actor
        return None

    def _where_all_wait(self) -> str:
        frames = sys._current_frames()
        waiting = [one for process in self.processes if process.alive for one in process.actors if not one.done]
        stacks = ["".join(traceback.format_stack(frames[one.thread.ident or 0])[-12:]) for one in waiting]
        return "\n".join(["everything waits for something that nothing brings about", *stacks])

    # The whole.

    def run(self, name: str, machine: Machine, work: Callable[[], object]) -> None:
        """Comes back when `work`, an actor's, has ended, or nothing goes on. Raises what it raised, or Stuck."""

        def director() -> None:
            try:
                work()
            except Unwound:
                raise
            except BaseException as error:  # noqa: BLE001 - for whoever runs the simulation
                self.failure = self.failure or error
            self._finished.set()
            actor = self.current()
            assert actor
            actor.await_baton()  # the world stands still

        self.spawn(name, machine, director)
        first = self._next()
        assert first
        first.resume()
        self._finished.wait()
        if self.failure:
            raise self.failure

    def close(self) -> None:
        """Ends all threads, one after the other, whatever they were waiting for."""
        self.closing = True
        for process in self.processes:
            for actor in process.actors:
                if not actor.done:
                    actor.resume()
                    _real_join(actor.thread, 10.0)
