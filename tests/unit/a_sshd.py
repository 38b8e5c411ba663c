"""A real OpenSSH server on loopback, for one user and one key, whose sessions run where the test wants them to."""

import atexit
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from driver import wait_until
from emulators import process_tree

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
HAS_SSHD = Path(SSHD).exists()
USER = pwd.getpwuid(os.getuid()).pw_name
_STAYING_SHELL = ("/bin/sh", "-c", '"$@"; exit', "sh")
"""Its environment stays as it is; sshd writes its title over its own."""
_LISTENS = b"Server listening on"

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
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
"""
"""The shell of whoever runs this finds no `.bashrc`: that may do anything, and take its time. Of the ways to agree on
keys this one takes a tenth of the time of what `ssh` would do.
"""

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
        self._env = {**env, process_tree.MARKER: str(_mark())}
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
        log = self.folder / "sshd.log"
        log.touch()
        known = log.stat().st_size
        self._process = _started([*_STAYING_SHELL, SSHD, "-D", "-E", str(log), "-f", str(config)])
        wait_until(lambda: _LISTENS in log.read_bytes()[known:])

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
        return psutil.Process(self._process.pid).children(recursive=True)

    def __enter__(self) -> "Sshd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@cache
def _mark() -> Path:
    """Whatever has this mark ends with this process, however that ends."""
    folder = Path(tempfile.mkdtemp(prefix="gpu-sshd-"))
    atexit.register(process_tree.watch(folder).communicate)
    return folder


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    nowhere, marked = subprocess.DEVNULL, {process_tree.MARKER: str(_mark())}
    return subprocess.Popen(command, env=marked, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def _assignments(env: Mapping[str, str]) -> str:
    return " ".join(f"'{name}={value}'" for name, value in env.items())
