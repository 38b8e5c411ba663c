"""The inside of a machine, as far as its set-up looks at it: a home, and small stand-ins for its programs.

What each of them is to say instead is told by `Vm.answers`: a line of shell. What they were called with is in `calls`.
"""

import sys
from pathlib import Path

GPU = "580.105.08, NVIDIA H100 80GB HBM3, 81559 MiB"

SUDO = """\
[ "$1" = -n ] || exit 9
shift
case "$1 $2" in
"mkdir -p") exec mkdir -p "$HOME$3" ;;
"tee /etc/"*) exec cat > "$HOME$2" ;;
"cat /etc/"*) exec cat "$HOME$2" ;;
esac
exec "$@"
"""
DOCKER = """\
missing() { echo "Error: No such object: gpu-engine" >&2; exit 1; }
case "$*" in
info*) echo cgroupfs ;;
"image inspect"*) test -f "$HOME/image" ;;
pull*) touch "$HOME/image" ;;
*cuInit*) echo 0 ;;
"run -d"*) cp "$HOME/.gpu-machine/container.env" "$HOME/env.given" && echo running 0 > "$HOME/container" ;;
port*) echo 127.0.0.1:8000 ;;
rm*) test ! -f "$HOME/container" || mv "$HOME/container" "$HOME/container.removed" ;;
inspect*Status*ExitCode*) cat "$HOME/container" 2>/dev/null || missing ;;
inspect*Status*) cut -d' ' -f1 "$HOME/container" 2>/dev/null || missing ;;
inspect*) cut -d' ' -f2 "$HOME/container" 2>/dev/null || missing ;;
"logs -f"*)
    tail -n +1 -s 0.03 -f "$HOME/log" & tail=$!
    for i in $(seq 100); do
        [ "$(cat "$HOME/container" 2>/dev/null)" = "running 0" ] || break
        sleep 0.1
    done
    sleep 0.1
    kill $tail ;;
logs*) cat "$HOME/log" ;;
esac
"""
PROGRAMS = {
    "sudo": SUDO,
    "docker": DOCKER,
    "nvidia-smi": f"echo '{GPU}'\n",
    "nvidia-ctk": "",
    "systemctl": "",
    "cloud-init": "echo 'status: done'\n",
    "uname": "echo x86_64\n",
}
_PROGRAM = """\
#!/bin/sh
echo {name} "$*" >> "$HOME/calls"
for answer in "$HOME/answers/"*; do
    case "{name} $*" in "${{answer##*/}}"*) . "$answer" ;; esac
done
{body}"""


class Vm:
    """Its home is `home`; `env` is the environment of a session on it."""

    def __init__(self, folder: Path) -> None:
        self.home, self._bin = folder / "home", folder / "bin"
        self._bin.mkdir(parents=True)
        (self.home / "answers").mkdir(parents=True)
        for name, body in PROGRAMS.items():
            program = self._bin / name
            program.write_text(_PROGRAM.format(name=name, body=body))
            program.chmod(0o755)
        (self._bin / "python3").symlink_to(Path(sys.executable).resolve())
        self.env = {"HOME": str(self.home), "PATH": f"{self._bin}:/usr/bin:/bin"}

    def answers(self, call: str, shell: str) -> None:
        """What happens when a program is called by a command line that begins like this, `docker pull`. It goes on as
        usual unless the shell exits."""
        (self.home / "answers" / call).write_text(shell)

    @property
    def daemon_json(self) -> Path:
        """The settings of Docker's daemon; neither they nor their folder exist unless they are given any."""
        return self.home / "etc/docker/daemon.json"

    def has_settings(self, text: str) -> None:
        """Of Docker's daemon."""
        self.daemon_json.parent.mkdir(parents=True)
        self.daemon_json.write_text(text)

    def has_container(self, state: str = "running 0") -> None:
        self.prints()
        (self.home / "container").write_text(f"{state}\n")

    def prints(self, *lines: str) -> None:
        """What its container does."""
        with (self.home / "log").open("a") as log:
            log.writelines(f"{line}\n" for line in lines)

    def calls(self, beginning: str) -> list[str]:
        """The command lines that begin like this, so far; sudo's own are left out."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(beginning)]
