"""The containers of Modal's functions: a process with Modal's own runtime, a folder for its root, and a socket.

As the real ones: a container speaks gRPC with whoever runs it, over a socket of its own and without a token; it has the
app's files in /root, its Secrets in the environment, and nothing of the environment of others. The runtime imports the
function, fetches inputs and puts outputs (see runtime_rpcs). Of a web server it waits for the port and then passes
requests on to it, which it gets as ASGI messages. A Server's class is only told to begin: requests go to its port. The
Python is that of the tests, whatever the image says.

What a container takes is real time, whatever the cloud's clock does: engines do not start faster. The words about one
that takes too long are quoted in modal-examples#1154, those about an exit code in InftyAI/Nebula#68.
"""

import asyncio
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from modal_proto import api_pb2

from .. import process_tree
from .logs import STDOUT, SYSTEM
from .work import Work

if TYPE_CHECKING:
    from .functions import Function

ADDRESS = "127.77.0.1"
"""Of every container's eth0: what listens on 0.0.0.0 is reached there, what listens on 127.0.0.1 is not."""
POLL_S = 0.02
PROBE_S = 0.1
"""Between two looks at a Server's port."""
LEAVE_S = 30.0
"""How long a container that is to end may take (Modal's guide on preemption)."""
LINE_BYTES = 2**24
SIGNALLED = 128
Result = api_pb2.GenericResult
KILLED = Result(status=Result.GENERIC_STATUS_TERMINATED, exception="it was stopped")
PREEMPTED = Result(status=Result.GENERIC_STATUS_TERMINATED, exception="it was preempted")
LEFT = Result(status=Result.GENERIC_STATUS_SUCCESS)
Say = Callable[[str, str, int], None]
"""Takes the container's id, a line of its log, and where it comes from (see logs)."""


class Container:
    """One container. Called in the server's loop. `now` is the cloud's clock."""

    def __init__(self, function: "Function", folder: Path, now: Callable[[], float], say: Say) -> None:
        assert function.published is not None
        self.id = f"ta-{secrets.token_hex(11)}"
        self.folder = folder / self.id
        self.function = function
        self.definition = function.published
        """The first choice of its GPUs, until it has got one."""
        self.gpu = api_pb2.GPUConfig()
        self.port = 0
        """Where its web server or its Server listens."""
        self.enqueued_at = now()
        self.started_at = 0.0
        """0 while it is pending."""
        self.finished_at = 0.0
        self.result = Result()
        """What became of it, once it has ended."""
        self.log: list[str] = []
        self.lives = True
        """It takes work, or will."""
        self.is_up = False
        """A Server's class has begun; its port may not listen yet."""
        self.is_ready = False
        self.work = Work(self)
        self._now = now
        self._say = say
        self._was_ready = False
        self._ends_at = 0.0
        """By the loop's clock: it is killed when it has not become ready, or not left, by then. 0: never."""
        self._process: subprocess.Popen[bytes] | None = None
        self._is_to_end = asyncio.Event()

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def is_stopped(self) -> bool:
        return self._is_to_end.is_set()

    @property
    def is_stillborn(self) -> bool:
        """It has ended by itself without ever having been ready."""
        return not self._was_ready and self.result not in (KILLED, PREEMPTED, LEFT)

    def say(self, text: str, source: int) -> None:
        """A line of its log, and where it comes from (see logs)."""
        self._say(self.id, text, source)

    # Its life.

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Its folder has its files already, and its socket is served. Raises OSError."""
        arguments = self.folder / "arguments"
        arguments.write_bytes(self._arguments().SerializeToString())
        of_modal = {
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": self.id,
            "MODAL_SERVER_URL": f"unix://{self.socket}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
        }
        self._process = process_tree.start(command, self.folder / "root", {**environ, **of_modal})
        self.started_at = self._now()
        self._end_within(self.definition.startup_timeout_secs)

    async def watch(self) -> None:
        """Until it has ended, and none of its processes is left."""
        assert self._process is not None
        reading = asyncio.create_task(self._read(self._process))
        probing = asyncio.create_task(self._probe())
        while self._process.poll() is None and not self.is_stopped:
            self._look_at_the_clock()
            await asyncio.sleep(POLL_S)
        probing.cancel()
        await asyncio.to_thread(process_tree.kill, self.folder, self._process.pid)
        await reading
        self._learn_from(self._process.wait())

    async def pretend(self) -> None:
        """Something answers on its port, and it is not told to end yet."""
        self.started_at = self._now()
        self.becomes_ready()
        while self.lives:
            await asyncio.sleep(POLL_S)

    def has_ended(self, why: str = "") -> None:
        """Nothing of it is left; `why` it could not even be started."""
        if why:
            self.result = Result(status=Result.GENERIC_STATUS_FAILURE, exception=why)
        self.lives = self.is_ready = False
        self.finished_at = self._now()
        self.function.scaler.has_ended(self)

    def stop(self, result: api_pb2.GenericResult = KILLED) -> None:
        """Begins to end it and returns at once."""
        if not self.is_stopped:
            self.lives = self.is_ready = False
            self.result = result
            self._is_to_end.set()

    def retire(self) -> None:
        """It takes no more work and ends when it has none; what has not become ready yet ends at once."""
        if not self.lives:
            return
        if not self._was_ready:
            self.stop(LEFT)
            return
        self.lives = self.is_ready = False
        self.result = LEFT
        if self.definition.is_server and self._process:
            self._process.send_signal(signal.SIGTERM)
            self._end_within(LEAVE_S + self.definition.http_config.exit_grace_period)
        self.work.end()

    def becomes_ready(self) -> None:
        """Once."""
        if not self._was_ready:
            self._was_ready = self.is_ready = True
            self._ends_at = 0.0
            self.work.become_idle()
            self.function.scaler.has_become_ready()

    def crash(self) -> None:
        """Kills what Modal's runtime has started there."""
        if self._process:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.Error):  # it has ended by itself
                    child.kill()

    # Its process.

    def _arguments(self) -> api_pb2.ContainerArguments:
        function = self.function
        return api_pb2.ContainerArguments(
            task_id=self.id,
            function_id=function.id,
            app_id=function.app_id,
            function_def=self._definition_here(),
            environment_name="main",
            app_layout=api_pb2.AppLayout(objects=[function.as_object()], function_ids={function.name: function.id}),
        )

    def _definition_here(self) -> api_pb2.Function:
        """With the port that is its own on this machine."""
        here = api_pb2.Function()
        here.CopyFrom(self.definition)
        if here.is_server:
            here.http_config.port = self.port
        elif here.webhook_config.type:
            here.webhook_config.web_server_port = self.port
        return here

    def _end_within(self, seconds: float) -> None:
        self._ends_at = asyncio.get_running_loop().time() + seconds

    def _look_at_the_clock(self) -> None:
        if not (self.lives or self.work.load or self._ends_at):
            self._end_within(LEAVE_S)
        if not self._ends_at or asyncio.get_running_loop().time() < self._ends_at:
            return
        if self._was_ready:
            self.stop(self.result)
            return
        text = f"Runner has been initializing for too long: {self.definition.startup_timeout_secs} seconds"
        self.say(text, SYSTEM)
        self.stop(Result(status=Result.GENERIC_STATUS_INIT_FAILURE, exception=text))

    async def _probe(self) -> None:
        """A Server is ready while its class has begun and its port listens."""
        while self.definition.is_server:
            await asyncio.sleep(PROBE_S)
            listens = self.is_up and await _listens(self.port)
            if listens and self.lives:
                self.becomes_ready()
            self.is_ready = listens and self.lives

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
        async for line in reader:
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            self.say(text, STDOUT)
        transport.close()

    def _learn_from(self, returncode: int) -> None:
        """Unless it is known what has become of it."""
        is_known = self.is_stopped or self.result.status == Result.GENERIC_STATUS_FAILURE
        if is_known or (returncode == 0 and self.result == LEFT):
            return
        code = SIGNALLED - returncode if returncode < 0 else returncode
        text = f"Runner failed with exit code: {code}"
        self.say(text, SYSTEM)
        self.result = Result(status=Result.GENERIC_STATUS_FAILURE, exitcode=code, exception=text)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(ADDRESS, port)
    except OSError:
        return False
    writer.close()
    return True
