"""Services of a user's own: systemd's user manager on Linux, launchd on macOS."""

import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit

NAME = "gpu-guard"
STOP_S = 30
"""How long clients' connections may take to end before they are cut."""
COMMAND_TIMEOUT_S = 60.0
INSTEAD = "have Lambda watched from elsewhere (gpu guard deploy --on modal), or say --ttl each time"

_WANTED_BY = "default.target"
# A guard that a command has replaced is soon back, and waits for its turn. What it has launched in the place of a lost
# deployment is to outlive it.
_UNIT = f"""[Unit]
Description=Ends rented GPUs that nothing else would end (gpu guard)
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={{command}}
Restart=always
RestartSec=5
KillMode=process
TimeoutStopSec={STOP_S}

[Install]
WantedBy={_WANTED_BY}
"""


class ServiceManager(ABC):
    """Where a user's services are defined, and the program that starts them."""

    program: str

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file that defines our service."""

    @abstractmethod
    def definition(self, command: Sequence[str]) -> str:
        """The content of that file: it runs this command at every login, and again whenever it ends."""

    @property
    @abstractmethod
    def enabled(self) -> bool:
        """Whether what the file defines is started at every login."""

    @abstractmethod
    def defines(self, word: str) -> bool:
        """Whether the file is there, and this is a word of its command."""

    @abstractmethod
    def look(self) -> None:
        """Have it take note of the definitions as they are. Raises UserError when no manager answers."""

    @abstractmethod
    def start(self) -> None:
        """Start what the file defines, now and at every login. Raises UserError."""

    @abstractmethod
    def stop(self) -> None:
        """The opposite. Raises UserError."""

    def hint(self) -> str:
        """What the user should still do, one line; empty for nothing."""
        return ""

    def _run(self, *arguments: str) -> None:
        if problem := self._problem(*arguments):
            raise UserError(Exit.LAUNCH_FAILED, "service-failed", problem, hint=INSTEAD)

    def _problem(self, *arguments: str) -> str:
        """What went wrong, one line; empty when it did what it was asked for."""
        try:
            ran = self._ran(self.program, *arguments)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{self.program} cannot be used here: {getattr(error, 'strerror', None) or 'it does not answer'}"
        said = (ran.stderr or ran.stdout).strip().splitlines()
        return f"{self.program} {' '.join(arguments)}: {said[0] if said else ran.returncode}" if ran.returncode else ""

    def _ran(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        found = shutil.which(program, path=self.environ.get("PATH")) or program
        # The user's own manager is found by this folder, which jobs of cron and shells of sudo are not told.
        environ = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **self.environ}
        return subprocess.run(
            [found, *arguments], env=environ, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )


class Systemd(ServiceManager):
    """systemd's user manager; unit files as in `man systemd.service` and `man systemd.syntax`."""

    program = "systemctl"

    @property
    def path(self) -> Path:
        config = self.environ.get("XDG_CONFIG_HOME") or Path(self.environ.get("HOME", "~")).expanduser() / ".config"
        return Path(config) / "systemd" / "user" / f"{NAME}.service"

    def definition(self, command: Sequence[str]) -> str:
        return _UNIT.format(command=" ".join(map(_quoted, command)))

    @property
    def enabled(self) -> bool:
        return (self.path.parent / f"{_WANTED_BY}.wants" / self.path.name).is_symlink()

    def defines(self, word: str) -> bool:
        return _quoted(word) in _text(self.path)

    def look(self) -> None:
        self._run("--user", "daemon-reload")

    def start(self) -> None:
        self.look()
        self._run("--user", "enable", self.path.name)
        self._run("--user", "restart", self.path.name)  # one that runs already has the environment of before

    def stop(self) -> None:
        self._run("--user", "disable", "--now", self.path.name)

    def hint(self) -> str:
        try:
            lingers = self._ran("loginctl", "show-user", str(os.getuid()), "--property=Linger").stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if lingers != "Linger=no":
            return ""
        return "it runs while you are logged in; also after a logout, and from boot on, with: loginctl enable-linger"


class Launchd(ServiceManager):
    """launchd's agents of a user; keys as in `man launchd.plist`, commands as in `man launchctl`."""

    program = "launchctl"

    @property
    def path(self) -> Path:
        return Path(self.environ.get("HOME", "~")).expanduser() / "Library" / "LaunchAgents" / f"{NAME}.plist"

    def definition(self, command: Sequence[str]) -> str:
        import plistlib

        agent = {
            "Label": NAME,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": True,
            "ExitTimeOut": STOP_S,
        }
        return plistlib.dumps(agent, sort_keys=False).decode()

    @property
    def enabled(self) -> bool:
        return self.path.exists()

    def defines(self, word: str) -> bool:
        from xml.sax.saxutils import escape

        return f"<string>{escape(word)}</string>" in _text(self.path)

    def look(self) -> None:
        self._run("print", self._domain)

    def start(self) -> None:
        self.stop()
        self._run("bootstrap", self._domain, str(self.path))

    def stop(self) -> None:
        if not self._is_loaded():
            return
        self._run("bootout", self._service)
        give_up_at = time.monotonic() + STOP_S
        while self._is_loaded() and time.monotonic() < give_up_at:  # as long as it is, it cannot be loaded anew
            time.sleep(0.2)

    def _is_loaded(self) -> bool:
        return not self._problem("print", self._service)

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    @property
    def _service(self) -> str:
        return f"{self._domain}/{NAME}"


def service_manager(environ: Mapping[str, str]) -> ServiceManager:
    """This machine's."""
    return Launchd(environ) if sys.platform == "darwin" else Systemd(environ)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _quoted(word: str) -> str:
    """One word of a command line of systemd's, which puts in specifiers (`%h`) and variables (`$HOME`)."""
    for special, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(special, escaped)
    return f'"{word}"'
