"""To a port of a rented machine's own loopback, through its SSH server.

The system's `ssh` leads there from a unix socket on this side. It is started again whenever it ends, and ends with this
process: what it runs on the machine is a `cat` whose input this process holds.
"""

import asyncio
import contextlib
import re
import shutil
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gpu_cli.fleet.reach.forwarder import CONNECT_DEADLINE_S, Streams, Way, first_to_end
from gpu_cli.fleet.reach.ssh_command import ssh_command
from gpu_cli.ui.output import print_message
from gpu_providers.base import SshLogin

ALIVE_INTERVAL_S = 5
"""After so long a silence a machine is asked for a sign of life; `ALIVE_COUNT` times, then it is given up."""
ALIVE_COUNT = 3
START_DEADLINE_S = 30.0
"""From the start of an `ssh` until it is logged in: its own time limit ends before that."""
LOOK_S = 0.02
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""Before it is started again: a client that waits for `CONNECT_DEADLINE_S` sees that tried."""
SETTLED_S = 10.0
"""One that has stood so long ends for a new reason."""
FULL_PAUSE_S = 0.01
"""While `ssh` has more connections waiting than it takes."""
JUST_NOW_S = 1.0
"""Words as old as that say nothing of a connection that ends now."""
LAST_WORDS_BYTES = 4000
SHORT_FOLDER = "/tmp"  # noqa: S108 - the path of a unix socket has room for 100 bytes; what mkdtemp makes is private

_STDERR = 2
_ENDS = (
    (
        "Host key verification failed",
        "what answers at {where} does not have the host key of {name}: nothing was sent to it",
    ),
    ("Permission denied (", "the machine of {name} at {where} does not take the key {identity}"),
)
"""What `ssh` says last, and what that means."""


class Tunnel(Way):
    """One `ssh` at a time. `login` tells how to log in now, None where that is not known; it may read files."""

    def __init__(
        self, name: str, login: Callable[[], SshLogin | None], *, alive_interval_s: int = ALIVE_INTERVAL_S
    ) -> None:
        super().__init__()
        self._name = name
        self._login = login
        self._alive_interval_s = alive_interval_s
        self._socket = Path()
        self._keeper: asyncio.Task[None] | None = None
        self._stands, self._moved = asyncio.Event(), asyncio.Event()
        self._child = _Child(self._stands)
        self._broken = f"the tunnel to {name} is broken"
        self._why = self._told = ""
        self._refused = False
        """The machine is not the one, or does not take the key: waiting a little would change nothing."""

    async def lead_to(self, endpoint: str) -> None:
        """The URL is that by which the machine itself reaches the port. Connections to the one before end."""
        if self._keeper is None:
            self._socket = Path(tempfile.mkdtemp(prefix="gpu-tunnel-", dir=SHORT_FOLDER), "s")
            self._keeper = asyncio.ensure_future(self._keep())
        self.endpoint = endpoint
        self._moved.set()

    async def connect(self) -> Streams:
        """As soon as the tunnel stands: when it has just broken, it is being made anew."""
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            while True:
                if self._refused:
                    raise ConnectionRefusedError
                await self._stands.wait()
                with contextlib.suppress(OSError):
                    return await asyncio.open_unix_connection(sock=_connected(self._socket))
                await asyncio.sleep(FULL_PAUSE_S)

    def why_not(self, error: OSError) -> str:
        """What is wrong with the tunnel; with what it leads to, when it stands."""
        if isinstance(error, TimeoutError) or not self._stands.is_set():
            return self._why
        if refused := self._child.refused():
            return f"the machine of {self._name} has nothing at {urlsplit(self.endpoint).netloc}: {refused}"
        return f"{self._name} hung up without an answer"

    async def close(self) -> None:
        """End `ssh`, and come back when nothing of it is left."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    async def _keep(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), FIRST_PAUSE_S
        while True:
            began_at = loop.time()
            try:
                await self._hold()
            except Exception:  # noqa: BLE001 - else the tunnel would never be made again; the log has the traceback
                self._why = self._broken
                self._tell(traceback.format_exc())
            settled = self._moved.is_set() or loop.time() - began_at > SETTLED_S
            pause_s = FIRST_PAUSE_S if settled else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _hold(self) -> None:
        """One `ssh`, from its start to its end, or until it has to lead elsewhere."""
        self._moved.clear()
        login = await asyncio.to_thread(self._login)
        if login is None:
            self._fail(f"how to log in to the machine of {self._name} is not known here")
            return
        self._why = self._why or _why_ended(self._name, login, "")
        child = self._child = _Child(self._stands)
        self._socket.unlink(missing_ok=True)
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: child, *self._command(login), stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            self._fail(f"{self._name} cannot be reached without the program `ssh`: {error.strerror}")
            return
        try:
            await self._watch(child)
        finally:
            transport.close()
            await child.ended.wait()
            self._stands.clear()
        if not self._moved.is_set():
            last_words = child.last_words()
            self._refused = any(sign in last_words for sign, _ in _ENDS)
            self._fail(_why_ended(self._name, login, last_words))

    async def _watch(self, child: "_Child") -> None:
        """Until it has ended, or has to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_DEADLINE_S):
                await first_to_end(self._listens(), child.ended.wait(), self._moved.wait())
        if self._stands.is_set():
            child.said = b""
            self._why = self._broken
            self._tell(f"the tunnel to {self._name} stands")
            await first_to_end(child.ended.wait(), self._moved.wait())

    async def _listens(self) -> None:
        """Which `ssh` begins to once it is logged in. What it runs on the machine may take its time."""
        while not self._socket.exists():
            await asyncio.sleep(LOOK_S)
        self._refused = False
        self._stands.set()

    def _fail(self, why: str) -> None:
        self._why = why
        self._tell(why)

    def _tell(self, news: str) -> None:
        if news != self._told:
            self._told = news
            print_message(news)

    def _command(self, login: SshLogin) -> list[str]:
        return ssh_command(
            login,
            "BatchMode=yes",
            "RequestTTY=no",
            f"ServerAliveInterval={self._alive_interval_s}",
            f"ServerAliveCountMax={ALIVE_COUNT}",
            "ExitOnForwardFailure=yes",
            f"LocalForward={self._socket} {urlsplit(self.endpoint).netloc}",
            remote=("cat",),
        )


class _Child(asyncio.SubprocessProtocol):
    """One `ssh`, which may stand or not, but does not when it has ended."""

    def __init__(self, stands: asyncio.Event) -> None:
        self.ended = asyncio.Event()
        """It has been waited for, and all that it said was read."""
        self.said = b""
        self._said_at = 0.0
        self._stands = stands

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - there is only its stderr
        """Some words of its own."""
        self.said = (self.said + data)[-LAST_WORDS_BYTES:]
        self._said_at = asyncio.get_running_loop().time()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - the contract's
        """Of its stderr: it has ended, and so have the connections through it, in the same moment."""
        if fd == _STDERR:
            self._stands.clear()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the contract's
        """The end."""
        self.ended.set()

    def last_words(self) -> str:
        """The last line that it said, if any."""
        return self.said.decode(errors="replace").strip().rpartition("\n")[2].strip()

    def refused(self) -> str:
        """Why the machine has just not let it through to the port; empty where it has said nothing of that."""
        if asyncio.get_running_loop().time() - self._said_at > JUST_NOW_S:
            return ""
        return self.last_words().partition("open failed: ")[2]


def _why_ended(name: str, login: SshLogin, last_words: str) -> str:
    where = f"{login.host}:{login.port}"
    for sign, meaning in _ENDS:
        if sign in last_words:
            return meaning.format(name=name, where=where, identity=login.identity)
    cause = re.sub(r"^ssh: connect to host \S+ port \d+: ", "", last_words)
    return f"{name} is not reachable at {where}: {cause.rstrip('.') or 'no answer'}"


def _connected(path: Path) -> socket.socket:
    """At once, or not at all: asyncio would take a queue that is full for a connection. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
