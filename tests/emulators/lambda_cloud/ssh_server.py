"""The SSH server of an emulated machine: the real sshd of this one, a process for each connection, as inetd does it.

Accepting is done here, so nothing listens once this process is gone, and connections can be dropped. Whoever logs in is
put on the machine by a forced command: its home, its PATH, and nothing else of this machine's environment.

sshd can only let in who runs it, so the user is not `ubuntu`. As root it insists on a folder of its own.
"""

import contextlib
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import process_tree

SSHD = "/usr/sbin/sshd"
OF_ROOT = Path("/run/sshd")
USER = pwd.getpwuid(os.getuid()).pw_name
CONFIG = """\
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/authorized_keys"
ForceCommand /bin/sh "{folder}/session"
SetEnv {environment}
UsePAM no
StrictModes no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
MaxSessions 100
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
"""
"""Of the ways to agree on keys, the one that takes least time."""
STAYING_SHELL = ("/bin/sh", "-c", '"$@"; exit', "sh")
"""sshd writes its title over its environment; its parent keeps the mark."""


class SshServer:
    """One machine's, at its own address. `open` and `close` are called once each, the rest at any time."""

    def __init__(
        self, folder: Path, address: tuple[str, int], environ: Mapping[str, str], admits: Callable[[str], bool]
    ) -> None:
        """`folder` is the machine's; `environ` what its sessions have, without spaces; `admits` tells whether anything
        from an address gets here at all.
        """
        self.was_used = False
        """Whether anybody has ever come."""
        self._folder = folder
        self._address = address
        self._admits = admits
        self._environ = {**environ, process_tree.MARKER: str(folder)}
        self._connections: dict[socket.socket, threading.Thread] = {}

    def open(self, host_key: str) -> None:
        """Listens; nobody is let in yet. Raises OSError where the address is taken."""
        self.change_host_key(host_key)
        environment = " ".join(f"{name}={value}" for name, value in self._environ.items())
        (self._folder / "sshd_config").write_text(CONFIG.format(folder=self._folder, environment=environment))
        if os.getuid() == 0:
            OF_ROOT.mkdir(mode=0o755, exist_ok=True)
        self._listener = socket.create_server(self._address)
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), name="sshd", daemon=True)
        self._accepting.start()

    def let_in(self, public_key: str) -> None:
        (self._folder / "authorized_keys").write_text(f"{public_key}\n")

    def change_host_key(self, host_key: str) -> None:
        """For connections from now on."""
        path = self._folder / "host_key"
        path.touch(0o600)
        path.write_text(host_key)

    def drop(self) -> None:
        """Ends every connection; returns when nothing is left of them."""
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def close(self) -> None:
        """Call `open` first."""
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait for the next
        self._accepting.join()
        self._listener.close()
        self.drop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, (host, _) = listener.accept()
            except OSError:
                return  # closed
            if not self._admits(host):
                connection.close()
                continue
            self.was_used = True
            thread = threading.Thread(target=self._serve, args=(connection,), name="ssh-connection", daemon=True)
            self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, (self._folder / "sshd.log").open("ab") as log:
            subprocess.run(
                [*STAYING_SHELL, SSHD, "-i", "-e", "-f", str(self._folder / "sshd_config")],
                env={process_tree.MARKER: str(self._folder)},
                stdin=connection,
                stdout=connection,
                stderr=log,
                start_new_session=True,
            )
            self._connections.pop(connection)
