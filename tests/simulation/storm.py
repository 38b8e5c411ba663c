"""A history: what a user, the weather and the clouds do, one step after the other, and what must hold in it.

Everything that happens follows from the history, so that one can be cut down to what matters, and told again.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulators.container_spec import State
from emulators.server import Request, Response
from scheduler import Process
from storm_books import WORKER, Books, resource_name
from world import World, simulate, write_recipe

from gpu_cli.exits import Exit
from gpu_cli.fleet.deployment import Deployment
from gpu_providers.base import Kind

BOOT_S = 15.0
GPUS = ("L4", "RTX-4090", "RTX-A4000", "A40", "A10", "RTX-A6000")
IDLES_S = (60, 90)
START_DEADLINE_S = 240
TTL_S = 900
LATE_S = 60.0
"""How long after its idleness a resource may live."""
AFTERMATH_S = 90.0
"""How long pauses between tries may go on that began in the storm."""
HANGS_S = 1800.0
UNNOTICED_S = 300.0
COMMANDS_S = 5.0

Step = tuple[Any, ...]
"""What is done, and with what: see `Teller`."""


@dataclass(frozen=True)
class History:
    """`repr` of it is what goes into a test."""

    seed: int
    clouds: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass
class Teller:
    """Lets a history happen, and looks at it."""

    world: World
    history: History
    problems: list[str] = field(default_factory=list)
    """What must not be."""
    figures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.books = Books(self.world)

    def tell(self) -> None:
        for name in self.history.clouds:
            self.books.keep(self.world.add(name, boot_s=BOOT_S))
        self.recipe = write_recipe(self.world, gpu={"names": GPUS, "count": 1})
        self.world.network.watchers.append(self._watch)
        for do, *arguments in self.history.steps:
            getattr(self, f"do_{do}")(*arguments)
            self._look()
        self._calm()
        self._aftermath()
        self._judge_commands()
        if not self.problems:
            self.problems += self.books.differences()

    # Steps.

    def do_gpu(self, *arguments: str) -> None:
        """A command that is waited for."""
        self._begin(arguments)
        self._wait_while(lambda: self.world.commands[-1].alive, HANGS_S, "it hangs")

    def do_start(self, *arguments: str) -> None:
        """A command that goes on while other things happen."""
        self._begin(arguments)
        self.world.scheduler.sleep(COMMANDS_S)

    def do_wait(self, seconds: float) -> None:
        self.world.scheduler.sleep(seconds)

    def do_use(self, seconds: float) -> None:
        """Somebody asks all that serve for something that takes so long."""
        for engine in self._engines():
            engine.serve_for(seconds)

    def do_break(self) -> None:
        """All engines die."""
        for engine in self._engines():
            engine.dies_at = self.world.scheduler.now

    def do_rule(self, cloud: str, rule: Mapping[str, Any]) -> None:
        self.world.clouds[cloud].misbehave(rule)

    def do_mend(self, cloud: str) -> None:
        self.world.clouds[cloud].misbehaviour.clear()

    def do_kill_guard(self) -> None:
        for guard in [one for one in self.world.guards if one.alive]:
            self.world.scheduler.kill(guard)

    def do_kill(self) -> None:
        """The newest command that still runs."""
        for command in self._running()[-1:]:
            self.world.scheduler.kill(command)

    def do_kill_at(self, count: int, when: str) -> None:
        """That one, at its so many-th request from now."""
        for command in self._running()[-1:]:
            self.world.network.watchers.append(_Killer(self.world, command, count, when))

    def do_interrupt(self) -> None:
        for command in self._running()[-1:]:
            self.world.interrupt(command)

    def do_suspend(self, seconds: float) -> None:
        """Commands that are waited for are in the same machine."""
        self.world.suspend(seconds)
        self.world.scheduler.sleep(seconds)

    def do_lose_state(self) -> None:
        """The laptop crashes, and comes up without what it knew."""
        for process in [one for one in (*self.world.commands, *self.world.guards) if one.alive]:
            self.world.scheduler.kill(process)
        self.books.lost |= {resource_name(line) for line in self.world.alive()}
        shutil.rmtree(self.world.folder / "gpu" / "state", ignore_errors=True)

    # What must hold at every moment.

    def _watch(self, process: Process, request: Request, response: Response | None) -> None:
        if response is None:
            return
        self.figures["requests"] += 1
        self.books.note(process, request, response)
        if request.method in ("POST", "PUT"):
            self._check_known()

    def _check_known(self) -> None:
        """What lives is on record from its first moment, and never twice for one deployment: racers have own names."""
        names, recorded = [str(line["name"]) for line in self.world.alive()], self.books.recorded()
        alive = [name for name in names if not name.endswith(WORKER)]
        for name in alive:
            if name not in recorded and name not in self.books.lost:
                self._object(f"unknown: {name} lives, and is on no record")
        named = Counter(recorded[name].name for name in alive if name in recorded)
        for name, count in named.items():
            if count > 1:
                self._object(f"twins: {count} resources of {name} live at once")

    def _look(self) -> None:
        recorded = self.books.recorded()
        for line in self.world.alive():
            known = recorded.get(resource_name(line))
            if known is not None and not known.is_live:
                self._object(f"wrong gone: {line['name']} is on record as {known.state} ({known.reason}), and lives")

    # The end.

    def _calm(self) -> None:
        for cloud in self.world.clouds.values():
            cloud.misbehaviour.clear()
        self.calm_at = self.world.scheduler.now
        self._wait_while(lambda: bool(self._running()), HANGS_S, "commands hang")
        self.calm_at = self.world.scheduler.now
        last = ["gc", "--yes"] if self.books.lost else ["ls"]
        self._begin(last)
        self._wait_while(lambda: bool(self._running()), HANGS_S, "the last command hangs")
        if self.world.commands[-1].exit != Exit.DONE:
            self._object(f"calm: gpu {' '.join(last)} ends with {self.world.commands[-1].exit} although all is calm")
        self.books.lost &= set(self.books.recorded())  # nothing else of that is left

    def _aftermath(self) -> None:
        """Until nothing lives, or something lives that must not."""
        self._check_known()
        recorded = self.books.recorded()
        while (alive := self.world.alive()) and not self.problems:
            for line in alive:
                known = recorded.get(resource_name(line))
                if self.world.scheduler.now > self._due_at(line, known):
                    self._object(f"alive: {line['name']} lives past its end; {known}")
            self._look()
            self.world.scheduler.sleep(5.0)
        self._wait_while(
            self._is_any_on_record, UNNOTICED_S, "on record as living: nobody notices its end", pause_s=10.0
        )
        self._look()

    def _is_any_on_record(self) -> bool:
        return not self.problems and any(one.is_live for one in self.books.recorded().values())

    def _due_at(self, line: Mapping[str, Any], recorded: Deployment | None) -> float:
        container = self._containers().get(str(line["id"]))
        latest_s = max(IDLES_S) + LATE_S + AFTERMATH_S
        made_at = self.books.made_at[str(line["id"])]
        out_of_reach = container is not None and container.state() is State.REMOVED  # by its host: its time runs out
        adopted = resource_name(line) in self.books.lost
        if out_of_reach or adopted or (recorded and recorded.kind is Kind.SERVERLESS):
            return max(self.calm_at, made_at + TTL_S) + latest_s
        if container is None or container.engine is None or not container.engine.listens:
            return max(self.calm_at, made_at) + START_DEADLINE_S + latest_s
        work = [end for _, end in container.engine.work]
        return max(self.calm_at, container.engine.ready_at, *work) + latest_s

    def _judge_commands(self) -> None:
        for command in self.world.commands:
            said = command.stderr.getvalue()
            self.figures[f"exit {command.exit}"] += 1
            if "Traceback" in said:
                self._object(f"traceback: {command.name}: {said[-3000:]}")
            if command.exit is not None and command.exit not in set(Exit):
                self._object(f"exit: {command.name}: {command.exit}")
            if command.exit == Exit.BUG:
                self._object(f"bug: {command.name}: {said[-1500:]}")
            explains = "gc" in command.arguments and command.exit == Exit.CLEANUP_UNCONFIRMED and said
            if not explains and command.exit not in (None, Exit.DONE) and len(re.findall("(?m)^error: ", said)) != 1:
                self._object(f"error: {command.name} says: {said[-1500:]}")
        for guard in self.world.guards:
            if "Traceback" in guard.stderr.getvalue():
                self._object(f"traceback: guard: {guard.stderr.getvalue()[-3000:]}")

    # What there is.

    def _begin(self, arguments: Sequence[str]) -> None:
        self.figures["commands"] += 1
        self.world.gpu(*(self.recipe if word == "RECIPE" else word for word in arguments))

    def _wait_while(self, goes_on: Callable[[], bool], seconds: float, complaint: str, *, pause_s: float = 0.5) -> None:
        give_up_at = self.world.scheduler.now + seconds
        while goes_on():
            if self.world.scheduler.now > give_up_at:
                self._object(f"hangs: {complaint} {', '.join(one.name for one in self._running())}")
                for command in self._running():
                    self.world.scheduler.kill(command)
            self.world.scheduler.sleep(pause_s)

    def _running(self) -> list[Process]:
        return [command for command in self.world.commands if command.alive]

    def _containers(self) -> dict[str, Any]:
        return {one.spec.id: one for cloud in self.world.clouds.values() for one in cloud.containers}

    def _engines(self) -> list[Any]:
        return [one.engine for one in self._containers().values() if one.port]

    def _object(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class _Killer:
    """SIGKILL at a request, before it takes effect or after it has."""

    def __init__(self, world: World, victim: Process, count: int, when: str) -> None:
        self._world, self._victim, self._left, self._when = world, victim, count, when

    def __call__(self, process: Process, _request: Request, response: Response | None) -> None:
        if process is not self._victim or self._when != ("before" if response is None else "after"):
            return
        self._left -= 1
        if self._left == 0:
            self._world.scheduler.kill(process)
            self._world.scheduler.wait()


def told(history: History) -> Teller:
    """The history as it went, with what must not have been."""
    tellers: list[Teller] = []

    def story(world: World) -> None:
        tellers.append(Teller(world, history))
        tellers[0].tell()

    simulate(history.seed, story)
    return tellers[0]
