"""One short SSH connection to a machine: log in, run a few commands, leave. Nothing in it waits for long.

Of an SSH server that is only just coming up everything is to be expected: no answer at all, a refused connection, one
that is cut before the server has named itself, "System is booting up", and a refused key until cloud-init has put ours
in its place (gardenlinux#2547, canonical/pycloudlib#128, scylladb/scylla-cluster-tests#2005).
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from gpu_providers.base import SshLogin
from gpu_providers.errors import InvalidRequest

if TYPE_CHECKING:
    from paramiko import Channel, PKey, Transport

_NO_ANSWER = "its SSH server does not answer yet"
_LOST = "the SSH connection to it was lost"
_BOOTING = "its SSH server lets nobody in yet: the system is booting up"
_REFUSED = "its SSH server refuses our key yet"

_LEAST_S = 0.01
"""What is left of a time limit that is over: libraries take 0 to mean none."""
_LOOK_S = 0.5
"""Between two looks whether anybody still wants the lines of a command."""
_PROBE_S = 15.0
"""After so long without a line the server is asked whether it is still there."""
_BLOCK_BYTES = 65536


class NotUp(Exception):
    """It cannot be talked to now; `detail` says why, for people."""

    def __init__(self, detail: str, *, verified: bool = False) -> None:
        """`verified`: its SSH server has proved to be the one that is expected."""
        super().__init__(detail)
        self.detail = detail
        self.verified = verified


class KeyRefused(NotUp):
    """The server that is expected does not let us in."""


class HostKeyChanged(Exception):
    """The server is not the one that is expected. Nothing was sent to it; `presented` is its key, `ssh-ed25519 AAAA…`.

    Not a `NotUp`: waiting does not help.
    """

    def __init__(self, presented: str) -> None:
        super().__init__("the machine has another host key than expected")
        self.presented = presented


@dataclass(frozen=True)
class Ran:
    """What a command on the machine did."""

    exit: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Session:
    """A connection to the server that is expected. Every method raises NotUp when it fails, or time is up."""

    _transport: "Transport"
    _deadline: float
    """By the monotonic clock."""

    def run(self, command: str, stdin: bytes = b"") -> Ran:
        """Run it in the user's home, by the login shell."""
        with _as_not_up(_LOST, verified=True), self._limited(), self._started(command) as channel:
            with suppress(OSError):  # it may end without having read that; why is in what it prints
                channel.sendall(stdin)
                channel.shutdown_write()
            stdout, stderr = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
            return Ran(_exit(channel), _text(stdout), _text(stderr))

    def lines(self, command: str, stop: Callable[[], bool]) -> Iterator[str]:
        """What it prints, line by line, until it ends or `stop()`: as long as that takes, whatever the time limit."""
        with _as_not_up(_LOST, verified=True):
            with self._limited():
                channel = self._started(command)
            channel.settimeout(_LOOK_S)
            rest = b""
            for block in self._blocks(channel, stop):
                *lines, rest = (rest + block).split(b"\n")
                yield from map(_text, lines)
            if rest:
                yield _text(rest)

    def _started(self, command: str) -> "Channel":
        channel = self._transport.open_session(timeout=_left_s(self._deadline))
        channel.exec_command(command)
        return channel

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Cut the connection when time is up: much of paramiko has no time limit (`Channel.exec_command`)."""
        timer = Timer(_left_s(self._deadline), self._transport.close)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _blocks(self, channel: "Channel", stop: Callable[[], bool]) -> Iterator[bytes]:
        heard_at = time.monotonic()
        while not stop():
            try:
                block = channel.recv(_BLOCK_BYTES)
            except TimeoutError:
                if time.monotonic() - heard_at >= _PROBE_S:
                    self._transport.open_session(timeout=_PROBE_S).close()
                    heard_at = time.monotonic()
                continue
            if not block:
                self._check_alive()
                return
            heard_at = time.monotonic()
            yield block

    def _check_alive(self) -> None:
        """The end of a command's output is also what one sees of a connection that was cut."""
        if not self._transport.is_active():
            raise NotUp(_LOST, verified=True)


@contextmanager
def connect(login: SshLogin, *, timeout_s: float) -> Iterator[Session]:
    """Log in; what is done with the session counts towards the time limit, too.

    Raises NotUp, KeyRefused and HostKeyChanged, and InvalidRequest for a private key that cannot be used.
    """
    deadline = time.monotonic() + timeout_s
    key = _private_key(login.identity)
    with _transport(login, deadline) as transport:
        _check_host_key(transport, login)
        _authenticate(transport, login.user, key, deadline)
        yield Session(transport, deadline)


@contextmanager
def _transport(login: SshLogin, deadline: float) -> Iterator["Transport"]:
    """The encrypted connection, to whomever it leads."""
    from paramiko import Transport

    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # its threads would write to our standard error
    with _connected(login, deadline) as connection:
        transport = Transport(connection)
        try:
            with _as_not_up(_NO_ANSWER):
                transport.banner_timeout = transport.handshake_timeout = _left_s(deadline)
                transport.start_client(timeout=_left_s(deadline))
                transport.get_remote_server_key()  # raises where time was up
            yield transport
        finally:
            transport.close()


@contextmanager
def _connected(login: SshLogin, deadline: float) -> Iterator[socket.socket]:
    with _as_not_up(_NO_ANSWER):
        try:
            connection = socket.create_connection((login.host, login.port), timeout=_left_s(deadline))
        except ValueError:  # no address could look like that
            raise NotUp(_NO_ANSWER) from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # SSH sends many a small packet in a row
    with connection:
        yield connection


def _check_host_key(transport: "Transport", login: SshLogin) -> None:
    key = transport.get_remote_server_key()
    presented = f"{key.get_name()} {key.get_base64()}"
    if presented not in expected_keys(login):
        raise HostKeyChanged(presented)


def expected_keys(login: SshLogin) -> Sequence[str]:
    """The host keys that will do, each `ssh-ed25519 AAAA…`; none once the machine is forgotten."""
    with suppress(FileNotFoundError):
        entries = (line.split() for line in login.known_hosts.read_text(encoding="utf-8").splitlines())
        return [" ".join(entry[1:3]) for entry in entries if entry[:1] == [login.alias]]
    return ()


def _authenticate(transport: "Transport", user: str, key: "PKey", deadline: float) -> None:
    from paramiko import AuthenticationException, SSHException

    transport.auth_timeout = _left_s(deadline)
    try:
        transport.auth_publickey(user, key)
    except (SSHException, EOFError, OSError) as error:
        if b"booting up" in (transport.get_banner() or b""):  # pam_nologin(8)
            raise NotUp(_BOOTING, verified=True) from None
        was_refused = isinstance(error, AuthenticationException) and transport.is_active()
        if was_refused and time.monotonic() < deadline:
            raise KeyRefused(_REFUSED, verified=True) from None
        raise NotUp(_LOST, verified=True) from None


def _private_key(path: Path) -> "PKey":
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        return PKey.from_path(path)
    except (OSError, TypeError, ValueError, SSHException, UnknownKeyType) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no private key that can be used unattended"
        hint = "end the deployment and start it anew: no other key opens its machine"
        raise InvalidRequest(f"{path} does not log in to the machine: {why}", hint=hint) from None


@contextmanager
def _as_not_up(detail: str, *, verified: bool = False) -> Iterator[None]:
    from paramiko import SSHException

    try:
        yield
    except (SSHException, EOFError, OSError):
        raise NotUp(detail, verified=verified) from None


def _exit(channel: "Channel") -> int:
    """A connection that is cut looks like a command that has ended, but has no exit status. Raises NotUp."""
    status = channel.recv_exit_status()
    if status < 0:
        raise NotUp(_LOST, verified=True)
    return status


def _left_s(deadline: float) -> float:
    return max(_LEAST_S, deadline - time.monotonic())


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")
