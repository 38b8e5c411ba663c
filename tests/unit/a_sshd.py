"""A real OpenSSH server on loopback, for one user and one key, whose sessions run where the test wants them to."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
HAS_SSHD = Path(SSHD).exists()
USER = pwd.getpwuid(os.getuid()).pw_name
_READY_S = 10.0

_CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
ForceCommand {folder}/session
SetEnv HOME={folder}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel DEBUG1
"""
"""The shell of whoever runs this finds no `.bashrc`: that may do anything, and take its time."""

_SESSION = """\
#!/bin/sh
exec env -i {variables} SSH_CONNECTION="$SSH_CONNECTION" /bin/sh -c "cd && $SSH_ORIGINAL_COMMAND"
"""


def make_key(path: Path) -> str:
    """A new private ed25519 key; returns its public half, `ssh-ed25519 AAAA…`."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class Sshd:
    """Listens from `start` to `stop`; its host key is made anew by `change_host_key`, and is `host_key`."""

    def __init__(self, folder: Path, env: Mapping[str, str], *, address: str = "127.0.0.1", port: int = 0) -> None:
        """`env` is all that sessions have for an environment; they run in its HOME."""
        self.folder = folder
        self.address = address
        self.port = port or free_port(address)
        self.more = ""
        """Lines of sshd_config(5) besides."""
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.identity = folder / "id_ed25519"
        self.authorize(make_key(self.identity))
        self.change_host_key()

    def authorize(self, *public_keys: str) -> None:
        """These alone may log in, from now on."""
        (self.folder / "authorized_keys").write_text("\n".join([*public_keys, ""]))

    def change_host_key(self) -> None:
        """From its next start."""
        self.host_key = make_key(self.folder / "host_key")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where Debian's sshd confines what is not logged in yet
        config = self.folder / "sshd_config"
        config.write_text(_CONFIG.format(address=self.address, port=self.port, folder=self.folder) + self.more)
        session = self.folder / "session"
        session.write_text(_SESSION.format(variables=_assignments(self._env)))
        session.chmod(0o755)
        self._process = _started([SSHD, "-D", "-E", str(self.folder / "sshd.log"), "-f", str(config)])
        _await_listener(self.address, self.port)

    def stop(self) -> None:
        """It listens no more, and its connections are cut. What has detached itself from them goes on."""
        if self._process:
            for process in self._processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections stay as they are, and nothing comes of them any more."""
        for process in self._processes():
            process.suspend()

    def _processes(self) -> list[psutil.Process]:
        assert self._process
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def __enter__(self) -> "Sshd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def _await_listener(address: str, port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.01)
    raise AssertionError(f"sshd does not listen on {address}:{port}")


def _assignments(env: Mapping[str, str]) -> str:
    return " ".join(f"'{name}={value}'" for name, value in env.items())
