"""What tests of Lambda's emulated machines have in common: one that has been launched, and whoever logs in to it."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from emulated_lambda import Caller
from emulators.lambda_cloud import LambdaEmulator

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ran:
    """One command that has ended."""

    exit: int
    out: str
    err: str


@dataclass(frozen=True)
class KeyPair:
    """Of whoever logs in, or of a machine."""

    private: str
    public: str

    def loaded(self) -> paramiko.Ed25519Key:
        return paramiko.Ed25519Key.from_private_key(StringIO(self.private))


def new_key_pair() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode())


@cache
def own_key() -> KeyPair:
    """Of all tests here, registered as `mine`."""
    return new_key_pair()


class Machine:
    """An instance, and how to log in to it."""

    def __init__(self, call: Caller, id_: str) -> None:
        self.call = call
        self.cloud: LambdaEmulator = call.cloud
        self.id = id_

    @property
    def address(self) -> tuple[str, int]:
        return self.call.instance(self.id)["ip"], int(self.cloud.env["GPU_LAMBDA_SSH_PORT"])

    def transport(self, key: KeyPair | None = None) -> paramiko.Transport:
        """Logged in, and to be closed. Raises OSError and SSHException."""
        connection = socket.create_connection(self.address, PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(connection)
        transport.connect(username=self.cloud.env["GPU_LAMBDA_SSH_USER"], pkey=(key or own_key()).loaded())
        return transport

    @contextmanager
    def login(self, key: KeyPair | None = None) -> Iterator["Session"]:
        transport = self.transport(key)
        try:
            yield Session(transport)
        finally:
            transport.close()

    @contextmanager
    def beside(self, *rules: Mapping[str, Any], **launch: object) -> Iterator["Machine"]:
        """Another one in the same cloud, `gpu-b`, by rules that count once."""
        self.cloud.misbehave(*({**rule, "times": 1} for rule in rules))
        other = Machine(self.call, self.call.launched(**{"name": "gpu-b", **launch}))
        try:
            yield other
        finally:
            self.call.terminate(other.id)

    def run(self, command: str, key: KeyPair | None = None) -> Ran:
        """In a connection of its own."""
        with self.login(key) as session:
            return session(command)


class Session:
    """A connection that is open."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport

    def __call__(self, command: str, stdin: str = "") -> Ran:
        channel = self.transport.open_session(timeout=PATIENCE_S)
        channel.settimeout(PATIENCE_S)
        channel.exec_command(command)
        channel.sendall(stdin.encode())
        channel.shutdown_write()
        out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
        return Ran(channel.recv_exit_status(), out.decode(), err.decode())

    def root(self, command: str, stdin: str = "") -> Ran:
        return self(f"sudo -n {command}", stdin)


@contextmanager
def emulated_machine(
    *rules: Mapping[str, Any], launch: Mapping[str, object] = {}, **of_emulator: Any
) -> Iterator[Machine]:
    """One that is up, in a cloud of its own."""
    with LambdaEmulator(misbehave=rules, **{"boot_s": 0.0, **of_emulator}) as cloud:
        call = Caller(cloud)
        call("POST", "/ssh-keys", {"name": "mine", "public_key": own_key().public})
        yield Machine(call, call.launched(**launch))
