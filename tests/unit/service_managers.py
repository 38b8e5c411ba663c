"""Stand-ins for the programs of service managers: they write down how they were called, and start what is defined."""

import sys
from pathlib import Path

_SYSTEMCTL = """#!{python}
import shlex, subprocess, sys, time
from pathlib import Path

folder, unit = Path({folder!r}), Path({unit!r})
with (folder / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
if (folder / "refuses").exists():
    sys.exit((folder / "refuses").read_text())
wanted = unit.parent / "default.target.wants" / unit.name
if sys.argv[2] in ("enable", "disable"):
    wanted.parent.mkdir(exist_ok=True)
    wanted.unlink(missing_ok=True)
if sys.argv[2] == "enable":
    wanted.symlink_to(unit)
if (running := folder / "pid").exists() and sys.argv[2] in ("restart", "disable"):
    # As systemd does it: by a signal, and it comes back when the process has ended.
    subprocess.run(["kill", running.read_text().strip()])
    while not (folder / "status").exists():
        time.sleep(0.02)
    running.unlink()
if sys.argv[2] == "restart":
    (folder / "status").unlink(missing_ok=True)
    command = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    told = "{{ $0 \\"$@\\" & }}; echo $! > pid.new; mv pid.new pid; wait $!; echo $? > status.new; mv status.new status"
    words = shlex.split(command.removeprefix("ExecStart="))
    environ = {{"HOME": "/", "PATH": "/usr/bin:/bin"}}
    streams = {{"stdin": subprocess.DEVNULL, "stdout": (folder / "journal").open("a"), "stderr": subprocess.STDOUT}}
    subprocess.Popen(["sh", "-c", told, *words], cwd=folder, env=environ, start_new_session=True, **streams)
"""
_LOGINCTL = """#!/bin/sh
echo Linger={lingers}
"""


class StandIns:
    """A folder of programs for PATH. `unit` is the file that defines the one service there is."""

    def __init__(self, folder: Path, unit: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.put("systemctl", _SYSTEMCTL.format(python=sys.executable, folder=str(folder), unit=str(unit)))
        self.lingers("yes")

    def put(self, name: str, script: str) -> None:
        """A program."""
        path = self.folder / name
        path.write_text(script)
        path.chmod(0o755)

    def lingers(self, value: str) -> None:
        """`yes` or `no`: whether the user's services go on without the user."""
        self.put("loginctl", _LOGINCTL.format(lingers=value))

    def refuse(self, message: str) -> None:
        """Whatever they are asked for."""
        (self.folder / "refuses").write_text(message)

    @property
    def calls(self) -> list[str]:
        """The arguments of each call."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def status(self) -> int | None:
        """With which status the service has ended; None while it runs."""
        status = self.folder / "status"
        return int(status.read_text()) if status.exists() else None
