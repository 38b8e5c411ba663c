"""The folder of an emulated machine: a home, files of the system, commands on its PATH, and what starts a session.

home/       of `ubuntu`
root/       files of the system that `sudo` reads and writes: etc/docker/daemon.json, and mounted file systems
bin/        first on PATH: python3 (the real one) and commands that the emulator answers
"""

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from .. import process_tree

PYTHON = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
ON_PATH = Path(__file__).with_name("on_path.py")
SYSTEM_PATH = "/usr/bin:/bin"
SESSION = f"""\
cd "$HOME" || exit
exec env -i HOME="$HOME" PATH="$PATH" USER=ubuntu LOGNAME=ubuntu SHELL=/bin/bash LANG=C.UTF-8 \\
    SSH_CLIENT="$SSH_CLIENT" SSH_CONNECTION="$SSH_CONNECTION" ${{TERM:+TERM="$TERM"}} \\
    {process_tree.MARKER}="${process_tree.MARKER}" \\
    /bin/bash --noprofile --norc ${{SSH_ORIGINAL_COMMAND:+-c "$SSH_ORIGINAL_COMMAND"}}
"""
SUDO = """\
#!/bin/sh
while :; do
    case $1 in
        -n | -E | -H | --non-interactive | --) shift ;;
        -*) echo "sudo: invalid option -- '${{1#-}}'" >&2; exit 1 ;;
        *) break ;;
    esac
done
case $1 in
    {file_commands})
        for word; do
            case $word in
                {home}/*) ;;
                /*) word={root}$word ;;
            esac
            shift
            set -- "$@" "$word"
        done ;;
esac
exec env -i PATH="$PATH" HOME={root}/root LANG=C.UTF-8 USER=root SUDO_UID=1000 SUDO_USER=ubuntu \\
    {marker}="${marker}" "$@"
"""
FILE_COMMANDS = ("cat", "chmod", "chown", "cp", "install", "ls", "mkdir", "mv", "rm", "tee", "test", "touch")
UNAME = """\
#!/bin/sh
[ "$*" = -m ] && exec echo {machine}
exec /usr/bin/uname "$@"
"""
UNAMES = {"x86_64": "x86_64", "arm64": "aarch64"}


class HostFolder:
    """Of one machine. `make` fills it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.home = folder / "home"
        self.root = folder / "root"

    @property
    def settings_file(self) -> Path:
        """Of Docker's daemon."""
        return self.root / "etc/docker/daemon.json"

    @property
    def environ(self) -> dict[str, str]:
        """Of sessions."""
        return {"HOME": str(self.home), "PATH": f"{self.path / 'bin'}:{SYSTEM_PATH}"}

    def make(self, architecture: str, commands: Iterable[str], port: int, route: str) -> None:
        """The commands are answered by the emulator's server at that port of loopback and that path."""
        for folder in ("home", "bin", "root/etc/docker", "root/root"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "session").write_text(SESSION)
        self._command("python3", f'#!/bin/sh\nexec "{PYTHON}" "$@"\n')
        self._command("sudo", self._sudo())
        self._command("uname", UNAME.format(machine=UNAMES[architecture]))
        for name in commands:
            self._command(name, f'#!/bin/sh\nexec "{PYTHON}" -I -S "{ON_PATH}" {port} {route} "$PWD" {name} "$@"\n')

    def _sudo(self) -> str:
        commands = " | ".join(FILE_COMMANDS)
        return SUDO.format(file_commands=commands, home=self.home, root=self.root, marker=process_tree.MARKER)

    def _command(self, name: str, text: str) -> None:
        path = self.path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def mount(self, mount_point: str, folder: Path) -> None:
        """A file system."""
        path = self.host_path(mount_point)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder)

    def host_path(self, path: str) -> Path:
        """Where a file of the machine is."""
        return Path(path) if Path(path).is_relative_to(self.path) else self.root / path.lstrip("/")
