"""A user with a laptop, some rented clouds, and time that is only computed: the product as it is, in one thread's pace.

Commands, the guard and supervisors are processes of the simulation that run the real code; clouds are the emulators.
"""

import contextlib
import functools
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import typer.main
import virtual_clouds
import virtual_containers
import virtual_forwarders
import virtual_network
import virtual_system
import virtual_threads
from emulators.cloud import Cloud
from rebinding import Patch, everywhere, patched
from scheduler import Machine, Process, Scheduler
from virtual_threads import current

import gpu_cli.app
import gpu_providers
from gpu_cli import locks
from gpu_cli.fleet.guard import run as guard
from gpu_cli.fleet.guard.process import GUARD_MODULE
from gpu_providers import event_stream, registry

START = 1_800_000_000.0
RAM = Path("/dev/shm")
SLEEP = "sleep"
"""The one program besides ours that is there."""

for package, apart in ((gpu_cli, ()), (gpu_providers, ("modal_cloud", "testing", "on_machine"))):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not any(name in module.name for name in apart) and not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # some want what is only installed with them
                importlib.import_module(module.name)
"""What is imported later would know the real time."""

_acquire = locks.Lock.try_acquire
_line = event_stream._Line.__init__
_available = functools.cache(registry.available)
_get_command = functools.cache(typer.main.get_command)


class World:
    """To be used within `simulated`, by an actor of its scheduler."""

    def __init__(self, scheduler: Scheduler, folder: Path) -> None:
        self.scheduler = scheduler
        self.folder = folder
        self.laptop = Machine("laptop")
        self.network = virtual_network.Network()
        self.clouds: dict[str, Cloud] = {}
        self.listening: set[int] = set()
        self.free_ports = iter(range(50_000, 60_000))
        self.commands: list[Process] = []
        """All that were started by hand."""
        self.guards: list[Process] = []

    # What there is.

    def add(self, name: str, **options: Any) -> Cloud:
        """Rent at this cloud too."""
        cloud = virtual_clouds.start(name, self.scheduler, self.network, self.folder, **options)
        self.clouds[name] = cloud
        os.environ.update(cloud.env)
        return cloud

    # What its user does.

    def gpu(self, *arguments: str) -> Process:
        """Starts the program, and does not wait for it."""
        process = self._spawn_gpu(arguments)
        self.commands.append(process)
        return process

    def done(self, process: Process) -> Process:
        """When it has ended."""
        while process.alive:
            self.scheduler.sleep(0.5)
        return process

    def run(self, *arguments: str) -> Process:
        """Starts the program and waits for its end."""
        return self.done(self.gpu(*arguments))

    def interrupt(self, process: Process) -> None:
        """Ctrl-C."""
        virtual_system.send_signal(process, signal.SIGINT)

    def suspend(self, seconds: float) -> None:
        """The laptop's lid is closed for so long; nobody waits for that."""
        self.laptop.asleep_until = self.scheduler.now + seconds
        self.laptop.slept_s += seconds

    def _spawn_gpu(self, arguments: Sequence[str]) -> Process:
        process = self.scheduler.spawn(f"gpu {' '.join(arguments)}", self.laptop, lambda: _command(arguments))
        process.arguments = (sys.executable, "-m", "gpu_cli", *arguments)
        return process

    def spawn(self, arguments: Sequence[str]) -> Process:
        """What the program starts itself."""
        if GUARD_MODULE in arguments:
            process = self.scheduler.spawn("guard", self.laptop, lambda: _program(guard.main))
            process.arguments = tuple(arguments)
            self.guards.append(process)
            return process
        if arguments[:3] == [sys.executable, "-m", "gpu_cli"]:
            return self._spawn_gpu(arguments[3:])
        if arguments[0] == SLEEP:
            return self.scheduler.spawn(SLEEP, self.laptop, lambda: self._sleep(float(arguments[1])))
        raise FileNotFoundError(arguments[0])

    def _sleep(self, seconds: float) -> None:
        actor = current()
        assert actor
        self.scheduler.sleep(seconds)
        actor.process.exit = 0

    # What became of it.

    def bill(self) -> list[Mapping[str, Any]]:
        """All lines of all clouds' bills, as of now."""
        return [line for cloud in self.clouds.values() for line in cloud.bill()["resources"]]

    def alive(self) -> list[Mapping[str, Any]]:
        """Of what exists, and bills or would."""
        return [line for line in self.bill() if line["alive"]]


def _command(arguments: Sequence[str]) -> None:
    sys.argv = ["gpu", *arguments]
    actor = current()
    assert actor
    actor.process.exit = gpu_cli.app._run("--json" in arguments)
    virtual_threads.end_of_process()


def _program(main: Callable[[], None]) -> None:
    actor = current()
    assert actor
    sys.argv = [""]
    actor.process.exit = 0
    try:
        main()
    except SystemExit as end:
        actor.process.exit = int(end.code or 0)
    virtual_threads.end_of_process()


def _try_acquire(lock: locks.Lock) -> bool:
    """The kernel drops a lock with its process."""
    acquired = _acquire(lock)
    if acquired and (actor := current()):
        actor.process.on_death.append(lock.release)
    return acquired


def _new_line(line: Any, *arguments: Any, **options: Any) -> None:
    _line(line, *arguments, **options)
    line.news = virtual_threads.SimpleQueue()


def _patches(world: World) -> list[Patch]:
    return [
        *virtual_threads.PATCHES,
        *virtual_system.patches(),
        *virtual_containers.PATCHES,
        *virtual_clouds.PATCHES,
        (httpx._client, "HTTPTransport", virtual_network.transport),
        (locks.Lock, "try_acquire", _try_acquire),
        (event_stream._Line, "__init__", _new_line),
        (registry, "available", lambda: {name: point for name, point in _available().items() if name in world.clouds}),
        (typer.main, "get_command", _get_command),
        *virtual_forwarders.patches(world),
        (virtual_threads, "active", world.scheduler),
        (virtual_system, "spawn", world.spawn),
        (virtual_network, "network", world.network),
        (sys, "argv", sys.argv),
    ]


def simulate(seed: int, story: Callable[[World], None]) -> World:
    """Lets `story` happen in a new world. Raises what it raises, and Stuck where everything comes to a halt."""
    folder = Path(tempfile.mkdtemp(prefix="storm-", dir=RAM if RAM.is_dir() else None))
    scheduler = Scheduler(seed, START)
    world = World(scheduler, folder)
    environ, hosts_before = dict(os.environ), len(virtual_containers.hosts)
    os.environ.update({"GPU_HOME": str(folder / "gpu"), "HOME": str(folder), "NO_COLOR": "1"})
    try:
        with patched(everywhere(_patches(world), virtual_system.ONLY_OURS)):
            try:
                scheduler.run("storm", Machine("observer"), lambda: story(world))
            finally:
                scheduler.close()
    finally:
        os.environ.clear()
        os.environ.update(environ)
        del virtual_containers.hosts[hosts_before:]
        shutil.rmtree(folder, ignore_errors=True)
    return world


def write_recipe(world: World, name: str = "rented", **content: object) -> str:
    """Of a model whose facts are known without a network. The path."""
    path = world.folder / f"{name}.yaml"
    path.write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "context": 8192, **content}))
    return str(path)
