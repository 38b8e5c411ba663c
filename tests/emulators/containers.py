"""Containers, for emulated clouds: each is a real process of this machine, in a folder of its own.

What a host does is done here: it pulls the image, starts the command, starts it again whenever it has ended (unless the
cloud does not do that), logs, and on `stop` ends everything that descends from it. The emulator's clock drives the
pull; what the command itself does takes real time, and so do the pauses between its starts.

A container's environment is, later ones winning:

    of the image       PATH (the engine's commands, then the caller's), HOME (its folder), LANG, CUDA_VERSION
    of the request     what the cloud sets: `ContainerSpec.env`, with the port rewritten as told in `images`
    of this machine    CUDA_VISIBLE_DEVICES (empty: the CPU is used), SPT_NOENV and GPU_EMULATOR_CONTAINER
                       (`process_tree`), and of the caller's only REACH: how the hub and PyPI are reached from here,
                       where vLLM keeps what it has learnt of models, and in how many processes it runs

Nothing else of the caller's is in it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

from gpu_cli.errors import UserError

from . import engines, images, process_tree
from .clock import Clock
from .container_log import CONTAINER, SYSTEM, Log
from .container_spec import AT_ONCE, Boot, ContainerSpec, State
from .engines import Engine
from .pretended import LOG, Pretended, PretendedEngine

REACH = (
    "HF_ENDPOINT",
    *("PIP_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("OMP_NUM_THREADS", "VLLM_CACHE_ROOT", "VLLM_ENABLE_V1_MULTIPROCESSING"),
)
IMAGE_ENV = {"LANG": "C.UTF-8", "CUDA_VERSION": "13.0.2"}

STOP_GRACE_S = 10.0
"""Docker's own."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.1, 60.0, 10.0
"""Docker waits before a restart, twice as long each time, until the command has run for `STEADY_S`."""
CRASHED, NOT_FOUND, SIGNALLED = 1, 127, 128
POLL_S = 0.05
LINE_BYTES = 16_384
"""Docker cuts longer lines."""


class Container:
    """One container. `Containers.start` makes it; `log` may be read and added to at any time."""

    def __init__(
        self,
        spec: ContainerSpec,
        boot: Boot,
        find_commands: Callable[[], Path | None],
        folder: Path,
        clock: Clock,
        pretended: Pretended | None = None,
    ) -> None:
        """`find_commands` answers the folder of the engine's commands, None where nothing runs; it may take long, and
        raise UserError. With `pretended` something answers on its port all the same.
        """
        self.spec = spec
        self.folder = folder
        self.log = Log(clock.now)
        self.restarts = 0
        self.exit_code: int | None = None
        """Of the command when it ended last, as a shell tells it."""
        self.started = threading.Event()
        """Set when its command has been started for the first time, or could not be."""
        self.start_error = ""
        """Why it could not be."""
        self._boot = boot
        self._find_commands = find_commands
        self._commands: Path | None = None
        self._pretended = pretended
        self._pretends = False
        self._clock = clock
        self.host_port = images.free_port()
        """The port of this machine's loopback behind the declared one, whether or not anything runs."""
        self._state = State.CREATING
        self._started_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"container-{spec.id}")

    def start(self) -> None:
        self._thread.start()

    def say(self, line: str) -> None:
        """One line of the host's."""
        self.log.add(SYSTEM, line)

    def state(self) -> State:
        return self._state

    @property
    def uptime_s(self) -> float | None:
        """Since the command was last started, on the emulator's clock; None while it does not run."""
        return self._clock.now() - self._started_s if self._state is State.RUNNING else None

    @property
    def local_port(self) -> int | None:
        """The same; None while no command runs."""
        return self.host_port if self._process or self._pretends else None

    @property
    def port(self) -> int | None:
        """The same; None while nothing listens."""
        if self._pretends:
            return self.host_port
        if self._process is None:
            return None
        with socket.socket() as probe:
            return self.host_port if probe.connect_ex(("127.0.0.1", self.host_port)) == 0 else None

    @property
    def pid(self) -> int:
        """Of the process that its command is, or was; 0 before there was any."""
        return self._pid

    def crash(self) -> None:
        """Kills that process, and nothing else."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def stop(self) -> None:
        """Begins to end it and returns at once: the command may be waiting for this very answer."""
        if self._state in (State.RUNNING, State.RESTARTING) and not self._stopping.is_set():
            self.say("stop container")
        self._stopping.set()

    def join(self) -> None:
        """Returns when it is removed and none of its processes is left; call `stop` first."""
        self._thread.join()

    def _live(self) -> None:
        try:
            if self._create():
                self._run_for_ever()
            self._stopping.wait()
        finally:
            self.started.set()
            self._state = State.REMOVED
            self.say("remove container")
            self.log.end()

    def _create(self) -> bool:
        """Whether the command can be started."""
        if self._boot.dead:
            return False
        self.say(f"create container {self.spec.image}")
        fatal = self._pull() or self._boot.fatal
        for line in fatal:
            self.say(line)
        return not fatal

    def _pull(self) -> Sequence[str]:
        """What stands in the way."""
        layers = [f"{number:012x}" for number in range(0xA11CE, 0xA11CE + self._boot.layers)]
        for layer in layers:
            self.say(f"{layer} Pulling fs layer")
        began_s = self._clock.now()
        for number, layer in enumerate(layers, 1):
            self.say(f"{layer} Downloading")
            self._wait_until(began_s + self._boot.pull_s * number / len(layers))
            self.say(f"{layer} Pull complete")
        try:
            self._commands = self._find_commands()
        except UserError as error:
            return [f"failed to pull image: {error}"]
        self.say(f"Status: Downloaded newer image for {self.spec.image}")
        return []

    def _run_for_ever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self.say(f"start container for {self.spec.image}: begin")
            self._started_s, self._state = self._clock.now(), State.RUNNING
            self._run()
            if self._stopping.is_set():
                return
            if not self.spec.restarts:
                self._state = State.EXITED
                return
            self._state = State.RESTARTING
            pause_s = FIRST_PAUSE_S if time.monotonic() - began_s >= STEADY_S else pause_s
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self.restarts += 1

    def _run(self) -> None:
        """Until the command ends or is to."""
        if self._boot.crash_after_s is None and self._commands is not None:
            self._run_command(self._commands)
            return
        if self._boot.crash_after_s is None and self._pretended:
            self._pretend(self._pretended)
            return
        self.started.set()
        if self._boot.crash_after_s is not None:
            for line in self._boot.crash_lines:
                self.log.add(CONTAINER, line)
            self._wait_until(self._started_s + self._boot.crash_after_s)
            self.exit_code = CRASHED
        else:
            self._stopping.wait()

    def _run_command(self, commands: Path) -> None:
        spec = self.spec
        command = (*(spec.entrypoint or images.entrypoint_of(spec.image)), *spec.cmd)
        try:
            self._process = process_tree.start(
                images.command_on(command, spec.port, self.host_port), self.folder, self._environ(commands)
            )
        except (OSError, IndexError) as error:
            self.start_error = f"{command[0] if command else 'no command'}: {error}"
            self.say(f"error starting container: {self.start_error}")
            self.exit_code = NOT_FOUND
            self.started.set()
            return
        self._pid = self._process.pid
        self.started.set()
        reader = threading.Thread(target=self._read, args=(self._process,), name=f"log-{spec.id}", daemon=True)
        reader.start()
        while self._process.poll() is None and not self._stopping.wait(POLL_S):
            pass
        self._end(self._process)
        self.exit_code = _as_shells_tell(self._process.returncode)
        reader.join(STOP_GRACE_S)  # a process that cannot be killed keeps the pipe open
        self._process = None

    def _pretend(self, pretended: Pretended) -> None:
        engine = PretendedEngine.of(self.spec.env, self.spec.cmd)
        for line in LOG:
            self.log.add(CONTAINER, line)
        with pretended.serving(engine, "127.0.0.1", self.host_port):
            self._pretends = True
            self.started.set()
            self._stopping.wait()
            self._pretends = False

    def _environ(self, commands: Path) -> dict[str, str]:
        """See the module's docstring."""
        return {
            "PATH": f"{commands}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder),
            **IMAGE_ENV,
            **self.spec.env_on(self.spec.env, self.spec.port, self.host_port),
            **{name: os.environ[name] for name in REACH if name in os.environ},
            "CUDA_VISIBLE_DEVICES": "",
        }

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout as output:
            for line in iter(lambda: output.readline(LINE_BYTES), b""):
                self.log.add(CONTAINER, line.decode(errors="replace").rstrip("\r\n"))

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Asks the main process, if it still runs, and then kills all that is left: a container ends with it."""
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_GRACE_S)
        process_tree.kill(self.folder, process.pid)
        process.wait()

    def _wait_until(self, at_s: float) -> None:
        """By the emulator's clock, which may be moved meanwhile; a stop ends it."""
        while (left_s := at_s - self._clock.now()) > 0 and not self._stopping.is_set():
            self._stopping.wait(min(POLL_S, left_s / self._clock.speed))


def _as_shells_tell(returncode: int) -> int:
    return SIGNALLED - returncode if returncode < 0 else returncode


class Containers:
    """All containers of one emulator; their folders are deleted by `close`.

    What runs in them ends with this process, be it killed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._commands: dict[Engine, Path | None] = {Engine.NONE: None, Engine.PRETEND: None}
        self._pretended = Pretended()
        self._installing = threading.Lock()
        self._watching = threading.Lock()
        self._containers: list[Container] = []
        self._watch: subprocess.Popen[bytes] | None = None

    def start(self, spec: ContainerSpec, engine: Engine | str = Engine.NONE, boot: Boot = AT_ONCE) -> Container:
        """Returns at once; the host does its work in the background. `spec.id` may come again after a stop."""
        find_commands = partial(self._commands_of, Engine(engine))
        pretended = self._pretended if engine == Engine.PRETEND else None
        container = Container(spec, boot, find_commands, self.new_folder(spec.id), self._clock, pretended)
        self._containers.append(container)
        container.start()
        return container

    def __iter__(self) -> Iterator[Container]:
        """All that there have ever been."""
        return iter([*self._containers])

    def new_folder(self, name: str) -> Path:
        """An empty one, which `close` deletes."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))

    def watch(self) -> None:
        """From now on nothing that is marked with a folder of these (see `process_tree`) outlives this process."""
        with self._watching:
            self._watch = self._watch or process_tree.watch(self._root)

    @cached_property
    def _root(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="gpu-emulator-"))

    def close(self) -> None:
        """Ends all of them and waits for it; again is no harm."""
        for container in self._containers:
            container.stop()
        for container in self._containers:
            container.join()
        self._pretended.stop()
        if self._watch:
            self._watch.communicate()
        shutil.rmtree(self._root, ignore_errors=True)

    def _commands_of(self, engine: Engine) -> Path | None:
        """Installed by the first container that needs them, as a part of its pull."""
        with self._installing:
            if engine not in self._commands:
                self.watch()
                self._commands[engine] = engines.install(engine, self._root)
            return self._commands[engine]
